"""The methods that Table 2 of the paper compares with: one module a method, its arithmetic and its search together.

`pooled` makes the one network pass of SPoC, uCroW, CroW, MAC, GeM and R-MAC and searches their descriptors; `spoc`,
`crow` and `rmac` hold what is each method's own. `bag_of_words` and `patches` make passes of their own.
"""

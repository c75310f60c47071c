"""This subpackage holds the methods that Table 2 of the paper compares with, each with its search.

`pooled` runs the network once for SPoC, uCroW, CroW, MAC, GeM and R-MAC, and searches their descriptors; `spoc`, `crow`
and `rmac` hold the pooling of one method each. `bag_of_words` and `patches` use other images or maps.
"""

"""This module holds the head of the report's page: its content security policy and its style."""

# The policy forbids scripts and requests, in case text of a results file gets past the escaping.
HEAD = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Results compared with the paper</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<style>
:root { color-scheme: light dark; --line: #8885; --page: #fff; --head: #f1f3f5; --link: #0b57a4; --warn: #a3380a }
@media (prefers-color-scheme: dark) { :root { --page: #16181b; --head: #24282d; --link: #8fc1f5; --warn: #f0a06a } }
body { font: 16px/1.5 system-ui, sans-serif; background: var(--page); max-width: 90rem; margin: auto; padding: 1rem }
h1, h2, h3, li, dd { overflow-wrap: anywhere } h3 { margin-top: 2rem; font-size: 1.05rem } a { color: var(--link) }
h2 { margin-top: 3rem; border-bottom: 1px solid var(--line) } .problems { color: var(--warn) } dd { margin: 0 }
.scroll { overflow-x: auto; margin: 1rem 0 } img { max-width: 100%; height: auto; background: #fff; border-radius: 4px }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums }
caption { text-align: left; font-weight: 600; padding: .3rem 0 } thead th { background: var(--head); text-align: left }
th, td { padding: .25rem .5rem; border-bottom: 1px solid var(--line); vertical-align: top; white-space: nowrap }
tbody th { font-weight: 400; text-align: left; position: sticky; left: 0; background: var(--page) }
thead .n, tbody .n { text-align: right } dt { font-weight: 600 } summary { cursor: pointer } figure { margin: 1rem 0 }
details { margin: 1rem 0; border: 1px solid var(--line); border-radius: 4px; padding: .4rem .8rem }
dl { display: grid; grid-template-columns: 8rem 1fr; gap: .3rem 1rem } dl, figcaption { font-size: .9rem }
@media (max-width: 44rem) { dl { display: block } dt { margin-top: .5rem } .wide { max-width: none; width: 52rem } }
</style></head><body><main><h1>Results compared with the paper</h1>
"""

"""A page on this machine that shows what a trained network makes of a picture (extra ``serve``).

Reading order: answers (what is computed), application (what is let in and sent back), then
page.html, page.css and page.js, which need nothing from elsewhere.
"""

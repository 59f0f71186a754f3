"""Pages and pictures: numbers become what a person looks at.

The rule of this room: functions of numbers, names and images that return an HTML fragment,
SVG text or a matplotlib figure, the same bytes for the same input. Nothing is measured here
and, but for `canvas.save`, nothing is written. Names from data are escaped wherever they land.
"""

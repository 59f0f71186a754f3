"""The picture of the graph: all operations, with shapes; branches side by side; names escaped."""

import re
import xml.etree.ElementTree as ElementTree

import pytest

import minidl
import models
from minidl.graph import _Reader, draw_graph
from minidl.graph_layout import arrange


def boxes_of(*results, params=None, expand=("BranchesOp",)):
    names = {id(p): name for name, p in (params.named_parameters() if params is not None else ())}
    boxes = _Reader(names, expand).read(list(results))
    return boxes, arrange(boxes)


@pytest.fixture(scope="module")
def block():
    minidl.manual_seed(0)
    return models.create("googlenet", num_classes=10, width=0.25).inception3a


def run(block):
    channels = block.branch1.conv.weight.shape[1]
    return block(minidl.randn(2, channels, 4, 4, requires_grad=True))


def test_svg_is_well_formed_and_shows_operations_and_shapes():
    x = minidl.ones(2, 3, requires_grad=True)
    svg = draw_graph((x.exp() * x).sum())
    root = ElementTree.fromstring(svg)
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert texts.count("2 × 3") == 3 and {"input", "Exp", "Mul", "Sum", "output", "one number"} <= set(texts)
    assert svg.count('class="arrow"') == 5


def test_inception_block_has_its_four_branches_side_by_side(block):
    boxes, layers = boxes_of(run(block), params=block)
    join = next(box for box in boxes if box.lines[0] == "Concat")
    assert len(join.above) == 4
    first = sorted((box for box in boxes if box.above and box.above[0].lines[:1] == ("input",)), key=lambda box: box.x)
    assert [box.lines[0] for box in first] == ["Conv2d", "Conv2d", "Conv2d", "MaxPool2d"]
    assert [box.lines[1][:7] for box in first[:3]] == ["branch1", "branch2", "branch3"]
    convolutions = [box for box in boxes if box.lines[0] == "Conv2d"]
    assert len(convolutions) == 6 and {len(box.lines) for box in convolutions} == {3}


def test_boxes_do_not_overlap_and_chains_are_straight(block):
    boxes, layers = boxes_of(run(block), params=block)
    for layer in layers:
        for left, right in zip(layer, layer[1:]):
            assert left.x + left.width / 2 < right.x - right.width / 2
    for box in boxes:
        if len(box.above) == 1 and len(box.above[0].below) == 1:
            assert box.x == pytest.approx(box.above[0].x, abs=1.0)
    assert all(above.layer == box.layer - 1 for layer in layers for box in layer for above in box.above)


def test_a_fused_block_is_one_box_if_asked(block):
    boxes, _ = boxes_of(run(block), params=block, expand=())
    assert [box.lines[0] for box in boxes] == ["input", "BranchesOp", "output"]


def test_a_freed_graph_can_still_be_drawn(block):
    y = run(block)
    y.sum().backward()
    assert "BranchesOp" in draw_graph(y, params=block)


def test_names_are_escaped_and_the_file_is_written(tmp_path):
    x = minidl.ones(1, requires_grad=True)
    svg = draw_graph(x * 2, tmp_path / "graph.svg", params={"<script>&": x})
    assert "&lt;script&gt;&amp;" in svg and "<script>" not in svg
    assert (tmp_path / "graph.svg").read_text(encoding="utf-8") == svg


def test_several_outputs_and_long_arrows():
    x = minidl.ones(2, requires_grad=True)
    y = x.exp().log().sin().cos() + x
    svg = draw_graph((y, x.tanh()))
    assert "output 0" in svg and "output 1" in svg
    assert max(len(re.findall("C", path)) for path in re.findall(r'd="(M[^"]*)"', svg)) > 3


def test_deep_graphs_need_no_recursion():
    x = y = minidl.ones(1, requires_grad=True)
    for _ in range(1500):
        y = y * 1.001
    assert len(boxes_of(y)[0]) == 1502


def test_no_graph_is_an_error():
    with pytest.raises(ValueError, match="has no graph"):
        draw_graph(minidl.ones(2))


def test_values_and_gradients_of_a_small_graph():
    a, b = minidl.tensor(2.0, requires_grad=True), minidl.tensor([3.0, -1.0], requires_grad=True)
    c = a * b
    L = c.sum() * a
    svg = draw_graph(L, values={"a": a, "b": b, "c": c, "L": L})
    texts = re.findall(r">([^<>]+)</text>", svg)
    for name, lines in {
        "a": ("a = 2", "gradient 8"), "c": ("c = 6 -2", "gradient 2 2"), "L": ("L = 8", "gradient 1"),
    }.items():
        assert texts[texts.index(lines[0]) + 1] == lines[1], name
    L.backward()  # the graph was not freed
    assert a.grad.item() == 8


def test_values_that_cannot_be_drawn_are_errors():
    a, other = minidl.ones(2, requires_grad=True), minidl.ones(2, requires_grad=True)
    with pytest.raises(ValueError, match=r"`values` needs one number to differentiate; `tensor` has shape \(2,\)"):
        draw_graph(a * 2, values={"a": a})
    with pytest.raises(ValueError, match="`values` names 'other'"):
        draw_graph((a * 2).sum(), values={"other": other})


def test_large_values_are_drawn_as_shapes():
    a = minidl.ones(7, requires_grad=True)
    svg = draw_graph((a * 2).sum(), values={"a": a})
    assert ">a</text>" in svg and "gradient" not in svg

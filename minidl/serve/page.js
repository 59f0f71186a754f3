"use strict";
// Sends a picture to /predict and shows the answer; draws digits where the network knows them.

const at = (id) => document.getElementById(id);
let about = {}, picture = null, request = 0;

async function ask(className) {
  if (!picture) return;
  const mine = ++request, options = new URLSearchParams();
  if (className) options.set("class", className);
  if (picture.file && at("invert").checked) options.set("invert", "1");
  let found;
  try {
    const response = await fetch("/predict?" + options, { method: "POST", body: picture.blob });
    found = await response.json();
  } catch {
    found = { error: "The server does not answer." };
  }
  if (mine !== request) return;  // an answer to a later picture is on its way
  found.error ? refuse(found.error) : show(found, className);
}

function refuse(text) {
  at("message").textContent = text;
  at("message").className = "error";
  at("result").hidden = true;
}

function show(found, className) {
  const best = found.predictions[0];
  at("message").className = "";
  at("message").textContent = `${best.class}, with a probability of ${(100 * best.probability).toFixed(1)} %.`;
  at("seen").src = found.seen;
  at("heat").src = found.grad_cam;
  at("explained").textContent = found.explained;
  at("classes").replaceChildren(...found.predictions.map((row) => line(row, found.explained)));
  at("result").hidden = false;
  if (className) at("classes").querySelector('[aria-pressed="true"]')?.focus();
}

function line(row, explained) {
  const item = document.createElement("li"), button = document.createElement("button");
  const bar = document.createElement("progress"), name = document.createElement("span"), share = document.createElement("span");
  bar.max = 1;
  bar.value = row.probability;
  bar.setAttribute("aria-hidden", "true");
  name.textContent = row.class;
  share.textContent = (100 * row.probability).toFixed(1) + " %";
  button.type = "button";
  button.setAttribute("aria-pressed", row.class === explained);
  button.append(bar, name, share);
  button.addEventListener("click", () => ask(row.class));
  item.append(button);
  return item;
}

function take(file) {
  if (!file) return;
  clear();  // the answer is to the file, no longer to what was drawn
  clearTimeout(waiting);
  picture = { blob: file, file: true };
  ask();
}

at("file").addEventListener("change", () => take(at("file").files[0]));
at("invert").addEventListener("change", () => ask());
at("show").addEventListener("change", () => { at("heat").hidden = !at("show").checked; });
for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    at("drop").classList.toggle("over", kind === "dragenter" || kind === "dragover");
    if (kind === "drop") take(event.dataTransfer.files[0]);
  });
}

// -- drawing

const canvas = at("canvas"), pen = canvas.getContext("2d", { willReadFrequently: true });
let place = null, down = false, waiting = null, cursor = { x: 140, y: 70 };

function clear() {
  pen.fillStyle = "#000";
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.strokeStyle = "#fff";
  pen.lineWidth = 26;
  pen.lineCap = pen.lineJoin = "round";
}

function stroke(to) {
  pen.beginPath();
  pen.moveTo((place || to).x, (place || to).y);
  pen.lineTo(to.x, to.y);
  pen.stroke();
  place = to;
  clearTimeout(waiting);
  waiting = setTimeout(send, 150);
}

function pointed(event) {
  const box = canvas.getBoundingClientRect(), scale = canvas.width / box.width;
  return { x: (event.clientX - box.left) * scale, y: (event.clientY - box.top) * scale };
}

canvas.addEventListener("pointerdown", (event) => {
  canvas.setPointerCapture(event.pointerId);
  place = null;
  stroke(pointed(event));
});
canvas.addEventListener("pointermove", (event) => { if (event.buttons && place) stroke(pointed(event)); });
canvas.addEventListener("pointerup", () => { place = null; });

canvas.addEventListener("keydown", (event) => {
  const step = { ArrowLeft: [-10, 0], ArrowRight: [10, 0], ArrowUp: [0, -10], ArrowDown: [0, 10] }[event.key];
  if (event.key === " ") {
    down = !down;
    place = null;
  } else if (step) {
    cursor = { x: Math.min(270, Math.max(10, cursor.x + step[0])), y: Math.min(270, Math.max(10, cursor.y + step[1])) };
  } else {
    return;
  }
  event.preventDefault();
  if (down) stroke(cursor);
  at("message").textContent = `Pen ${down ? "down" : "up"} at ${cursor.x}, ${cursor.y} of 280.`;
});

at("clear").addEventListener("click", () => {
  clear();
  cursor = { x: 140, y: 70 };
  down = false;
  picture = null;
  request++;
  at("result").hidden = true;
  at("message").className = "";
  at("message").textContent = "Nothing yet.";
});

function inkBox() {
  const { data, width, height } = pen.getImageData(0, 0, canvas.width, canvas.height);
  let left = width, right = -1, top = height, bottom = -1;
  for (let i = 0; i < data.length; i += 4) {
    if (data[i] < 64) continue;
    const x = (i / 4) % width, y = Math.floor(i / 4 / width);
    left = Math.min(left, x); right = Math.max(right, x); top = Math.min(top, y); bottom = Math.max(bottom, y);
  }
  return right < 0 ? null : { left, top, width: right - left + 1, height: bottom - top + 1 };
}

function send() {
  const box = inkBox();
  if (!box) return;
  const small = document.createElement("canvas"), side = small.width = small.height = 112;  // the ink fills it as in the data
  const room = side * (1 - 2 * about.margin), scale = room / Math.max(box.width, box.height);
  const [w, h] = [box.width * scale, box.height * scale], brush = small.getContext("2d");
  brush.fillRect(0, 0, side, side);
  brush.imageSmoothingQuality = "high";
  brush.drawImage(canvas, box.left, box.top, box.width, box.height, (side - w) / 2, (side - h) / 2, w, h);
  small.toBlob((blob) => { picture = { blob, file: false }; ask(); }, "image/png");
}

async function begin() {
  clear();
  about = await (await fetch("/about")).json();
  const colours = about.channels === 1 ? "gray" : "colour";
  at("network").textContent = `${about.name}: ${about.classes.length} classes, ${about.image_size} x ${about.image_size} pixels, ${colours}`;
  document.title = `${about.name} - minidl`;
  at("drawing").hidden = !about.draws;
}
begin();

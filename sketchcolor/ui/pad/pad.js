// A pad to draw on: strokes over a page or a picture, taken back one by one.
//
// settings.takes: pictures may be opened, pasted and dropped, and what is given is page and strokes together (the eraser
// leaves white); else the strokes alone. The value from the program is {show: data URL or null}; what the visitor made
// is {given: data URL or null}, followed by the event "input".
const pad = element.querySelector(".pad");
const settings = JSON.parse(pad.dataset.given);
const tools = pad.querySelector(".tools");
const paper = pad.querySelector(".paper");
const sheet = pad.querySelector(".strokes");
const said = pad.querySelector(".said");
const pen = sheet.getContext("2d");
const BLANK = 640;

let background = null; // what is drawn under the strokes
let strokes = [];
let undone = [];
let erasing = false;
let color = settings.colors[0];
let width = settings.width;
let current = null;

tools.setAttribute("aria-label", settings.about);
sheet.setAttribute("aria-label", settings.about);

// --- the page

function lay(picture, wide, high) {
  background = picture;
  strokes = [];
  undone = [];
  for (const canvas of [paper, sheet]) {
    canvas.width = wide;
    canvas.height = high;
  }
  pad.style.setProperty("--ratio", wide / high);
  if (picture) paper.getContext("2d").drawImage(picture, 0, 0);
  refresh();
}

function line(stroke) {
  const [first, ...rest] = stroke.points;
  const lifts = stroke.erases && !settings.takes;
  pen.globalCompositeOperation = lifts ? "destination-out" : "source-over";
  pen.strokeStyle = stroke.erases ? "white" : stroke.color;
  pen.lineWidth = stroke.width;
  pen.lineCap = pen.lineJoin = "round";
  pen.beginPath();
  pen.moveTo(...first);
  if (!rest.length) pen.lineTo(first[0] + 0.01, first[1]);
  let [x, y] = first;
  for (const [nextX, nextY] of rest) {
    pen.quadraticCurveTo(x, y, (x + nextX) / 2, (y + nextY) / 2);
    [x, y] = [nextX, nextY];
  }
  pen.lineTo(x, y);
  pen.stroke();
}

function refresh() {
  pen.clearRect(0, 0, sheet.width, sheet.height);
  strokes.forEach(line);
  undo.disabled = !strokes.length;
  redo.disabled = !undone.length;
}

function give() {
  let url = null;
  if (settings.takes && (background || strokes.length)) {
    const whole = document.createElement("canvas");
    whole.width = sheet.width;
    whole.height = sheet.height;
    const onto = whole.getContext("2d");
    if (!background) {
      onto.fillStyle = "white";
      onto.fillRect(0, 0, whole.width, whole.height);
    }
    onto.drawImage(paper, 0, 0);
    onto.drawImage(sheet, 0, 0);
    url = whole.toDataURL("image/png");
  } else if (strokes.length) {
    url = sheet.toDataURL("image/png");
  }
  props.value = { given: url };
  trigger("input");
}

// --- drawing

function place(event) {
  const box = sheet.getBoundingClientRect();
  const scale = sheet.width / box.width;
  return [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
}

sheet.addEventListener("pointerdown", (event) => {
  if (event.button) return;
  event.preventDefault();
  sheet.setPointerCapture(event.pointerId);
  const scale = sheet.width / sheet.getBoundingClientRect().width;
  const wide = (erasing ? 4 : 1) * width * scale;
  current = { color, width: wide, erases: erasing, points: [place(event)] };
  strokes.push(current);
  undone = [];
  refresh();
});

sheet.addEventListener("pointermove", (event) => {
  if (!current) return;
  const moves = event.getCoalescedEvents ? event.getCoalescedEvents() : [];
  for (const move of moves.length ? moves : [event]) current.points.push(place(move));
  refresh();
});

function lift() {
  if (!current) return;
  current = null;
  give();
}
sheet.addEventListener("pointerup", lift);
sheet.addEventListener("pointercancel", lift);

// --- tools

const ICONS = {
  open: "M12 16V4m0 0-4 4m4-4 4 4M4 16v4h16v-4",
  brush: "M4 20l1-5L16 4l4 4L9 19z",
  eraser: "M8 19h12M5 14l8-9 6 5-7 9H8z",
  undo: "M9 14 4 9l5-5M4 9h9a6 6 0 0 1 0 12H9",
  redo: "M15 14l5-5-5-5M20 9h-9a6 6 0 0 0 0 12h4",
  clear: "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13",
};

function icon(name) {
  const picture = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  picture.setAttribute("viewBox", "0 0 24 24");
  picture.setAttribute("aria-hidden", "true");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", ICONS[name]);
  picture.append(path);
  return picture;
}

function button(name, label, does) {
  const made = document.createElement("button");
  made.type = "button";
  made.title = label;
  made.setAttribute("aria-label", label);
  if (name) made.append(icon(name));
  made.addEventListener("click", does);
  tools.append(made);
  return made;
}

function choose(erases, paint = color) {
  [erasing, color] = [erases, paint];
  brush.setAttribute("aria-pressed", !erases);
  eraser.setAttribute("aria-pressed", erases);
  for (const swatch of tools.querySelectorAll(".paint")) {
    swatch.setAttribute("aria-pressed", !erases && swatch.dataset.color === paint);
  }
}

if (settings.takes) {
  const label = document.createElement("label");
  label.className = "open";
  label.title = "Open a picture; or paste or drop one";
  const input = document.createElement("input");
  input.type = "file";
  input.accept = "image/*";
  input.setAttribute("aria-label", "Upload a sketch");
  input.addEventListener("change", () => {
    if (input.files.length) take(input.files[0]);
    input.value = "";
  });
  label.append(icon("open"), "Upload", input);
  tools.append(label);
}
const brush = button("brush", "Brush", () => choose(false));
const eraser = button("eraser", "Eraser", () => choose(true));
const undo = button("undo", "Undo", () => {
  undone.push(strokes.pop());
  refresh();
  give();
});
const redo = button("redo", "Redo", () => {
  strokes.push(undone.pop());
  refresh();
  give();
});
button("clear", settings.takes ? "A new page" : "Take all strokes away", () => {
  if (settings.takes) {
    lay(null, BLANK, BLANK);
  } else {
    strokes = [];
    undone = [];
    refresh();
  }
  give();
});
const size = document.createElement("input");
size.type = "range";
size.min = 1;
size.max = 40;
size.value = width;
size.title = "Width of the brush";
size.setAttribute("aria-label", size.title);
size.addEventListener("input", () => (width = Number(size.value)));
tools.append(size);
if (settings.colors.length > 1) {
  for (const paint of settings.colors) {
    const swatch = button(null, "Colour " + paint, () => choose(false, paint));
    swatch.className = "paint";
    swatch.dataset.color = paint;
    swatch.style.background = paint;
  }
}
if (settings.free) {
  const any = document.createElement("input");
  any.type = "color";
  any.value = color;
  any.title = "Any colour";
  any.setAttribute("aria-label", any.title);
  any.addEventListener("input", () => choose(false, any.value));
  tools.append(any);
}
pad.addEventListener("keydown", (event) => {
  if (!(event.ctrlKey || event.metaKey) || event.key.toLowerCase() !== "z") return;
  event.preventDefault();
  (event.shiftKey ? redo : undo).click();
});

// --- pictures from outside

async function take(file) {
  said.textContent = "";
  let picture;
  try {
    picture = await createImageBitmap(file);
  } catch {
    said.textContent = "This file is not a picture that can be read here.";
    return;
  }
  if (picture.width * picture.height > settings.most * 1e6) {
    said.textContent = "Pictures of more than " + settings.most + " megapixels are not taken here.";
    return;
  }
  lay(picture, picture.width, picture.height);
  give();
}

if (settings.takes) {
  document.addEventListener("paste", (event) => {
    const files = event.clipboardData ? [...event.clipboardData.files] : [];
    const picture = files.find((file) => file.type.startsWith("image/"));
    if (picture && pad.isConnected && pad.offsetParent) take(picture);
  });
  pad.addEventListener("dragover", (event) => {
    event.preventDefault();
    pad.classList.add("over");
  });
  pad.addEventListener("dragleave", () => pad.classList.remove("over"));
  pad.addEventListener("drop", (event) => {
    event.preventDefault();
    pad.classList.remove("over");
    if (event.dataTransfer.files.length) take(event.dataTransfer.files[0]);
  });
}

function show(value) {
  if (!value || value.show === undefined) return; // what was given from here
  said.textContent = "";
  if (!value.show) {
    lay(null, BLANK, BLANK);
    return;
  }
  const picture = new Image();
  picture.onload = () => lay(picture, picture.naturalWidth, picture.naturalHeight);
  picture.src = value.show;
}

choose(false);
lay(null, BLANK, BLANK);
show(props.value);
watch("value", () => show(props.value));

"use strict";
// The view at 1:1. All pictures of a set share one zoom and one centre, which is given as parts of each picture: so
// pictures of different sizes show the same place. At zoom 1 a pixel of a picture is a pixel of the page.
(() => {
  const viewer = document.getElementById("viewer");
  const stage = document.getElementById("viewer-stage");
  const title = document.getElementById("viewer-title");
  const shown = document.getElementById("viewer-zoom");
  const note = document.getElementById("viewer-note");
  const sets = [...document.querySelectorAll("[data-set]")].filter((set) => set.querySelector(".shot"));
  const LEAST = 0.05, MOST = 32, STEP = 1.25;
  let at = 0, same = false, zoom = 1, x = 0.5, y = 0.5, views = [], from = null;

  const make = (name, className) => {
    const element = document.createElement(name);
    element.className = className;
    return element;
  };

  function view(pane) {
    const box = make("div", "view");
    const shot = pane.querySelector(".shot");
    const label = make("p", "label");
    label.append(...[...pane.querySelector(".name").childNodes].map((node) => node.cloneNode(true)));
    if (!shot) {
      box.append(pane.querySelector(".none").cloneNode(true), label);
      return { box };
    }
    const sheet = make("div", "sheet");
    const width = Number(shot.dataset.width), height = Number(shot.dataset.height);
    sheet.style.width = `${width}px`;
    sheet.style.height = `${height}px`;
    const picture = make("img", "");
    const small = shot.querySelector("img");
    picture.src = small.src;
    picture.alt = small.alt;
    sheet.append(picture);
    if (shot.dataset.crop) {
      const [left, top, wide, high] = shot.dataset.box.split(" ").map(Number);
      const crop = make("img", "crop");
      crop.src = shot.dataset.crop;
      crop.alt = "";
      Object.assign(crop.style, {
        left: `${left * 100}%`, top: `${top * 100}%`, width: `${wide * 100}%`, height: `${high * 100}%`,
      });
      sheet.append(crop);
    }
    box.append(sheet, label);
    return { box, sheet, width, height, preview: "preview" in shot.dataset, crop: Boolean(shot.dataset.crop) };
  }

  // Columns so that the cells come out nearest to square.
  function columns(count) {
    const { clientWidth: width, clientHeight: height } = stage;
    let best = 1, side = 0;
    for (let across = 1; across <= count; across += 1) {
      const now = Math.min(width / across, height / Math.ceil(count / across));
      if (now > side) { side = now; best = across; }
    }
    return best;
  }

  function show(index, keep) {
    at = (index + sets.length) % sets.length;
    const set = sets[at];
    title.textContent = set.closest(".prompt").querySelector("h3").textContent;
    title.dir = "auto";
    views = [...set.querySelectorAll(".pane")].map(view);
    stage.replaceChildren(...views.map((one) => one.box));
    layout();
    const preview = views.some((one) => one.preview);
    note.textContent = !preview ? "" : views.some((one) => one.crop)
      ? " Sharp inside the blue frame; around it a preview, as the whole pictures would not fit into one file."
      : " These are previews: the whole pictures would not fit into one file.";
    if (!keep) { same = false; x = y = 0.5; zoom = start(); }
    draw(false);
  }

  function layout() {
    const across = columns(views.length);
    stage.style.gridTemplateColumns = `repeat(${across}, minmax(0, 1fr))`;
    stage.style.gridTemplateRows = `repeat(${Math.ceil(views.length / across)}, minmax(0, 1fr))`;
  }

  const pictures = () => views.filter((one) => one.sheet);
  const widest = () => Math.max(...pictures().map((one) => one.width));
  // How much a picture is enlarged: "Fit" shows all at the size of the widest, 1:1 each at its own.
  const scale = (one) => zoom * (same ? widest() / one.width : 1);
  const whole = () => Math.min(...pictures().map((one) => {
    const times = same ? widest() / one.width : 1;
    return Math.min(one.box.clientWidth / one.width, one.box.clientHeight / one.height) / times;
  }));

  // Pictures larger than their place are opened at 1:1, smaller ones as large as they fit, in whole pixels.
  function start() {
    const fits = whole();
    return fits < 1 ? 1 : Math.max(1, Math.floor(fits));
  }

  function draw(glide) {
    zoom = Math.min(MOST, Math.max(LEAST, zoom));
    x = Math.min(1, Math.max(0, x));
    y = Math.min(1, Math.max(0, y));
    for (const one of pictures()) {
      const { box, sheet, width, height } = one, times = scale(one);
      box.classList.toggle("glide", Boolean(glide));
      box.classList.toggle("large", times >= 2);
      const left = Math.round(box.clientWidth / 2 - x * width * times);
      const top = Math.round(box.clientHeight / 2 - y * height * times);
      sheet.style.transform = `translate(${left}px, ${top}px) scale(${times})`;
    }
    shown.textContent = zoom === 1 ? "1:1" : `${zoom < 1 ? Math.round(zoom * 100) : Math.round(zoom * 10) * 10} %`;
  }

  // Zoom by a factor; the point under (px, py) of a view stays where it is.
  function zoomBy(factor, one, px, py) {
    const fixed = one && one.sheet ? one : null;
    const before = fixed && scale(fixed);
    zoom = Math.min(MOST, Math.max(LEAST, zoom * factor));
    if (Math.abs(Math.log(zoom)) < 0.02) zoom = 1;
    if (fixed) {
      x += (px - fixed.box.clientWidth / 2) * (1 / before - 1 / scale(fixed)) / fixed.width;
      y += (py - fixed.box.clientHeight / 2) * (1 / before - 1 / scale(fixed)) / fixed.height;
    }
    draw(!one);
  }

  function panBy(dx, dy, one) {
    const first = one && one.sheet ? one : pictures()[0];
    x -= dx / (first.width * scale(first));
    y -= dy / (first.height * scale(first));
    draw(false);
  }

  function open(set, shot) {
    from = shot;
    if (!viewer.open) viewer.showModal();
    show(sets.indexOf(set), false);
    stage.focus();
  }

  const actions = {
    previous: () => show(at - 1, true),
    next: () => show(at + 1, true),
    in: () => zoomBy(STEP),
    out: () => zoomBy(1 / STEP),
    one: () => { same = false; zoom = 1; draw(true); },
    fit: () => { same = true; zoom = whole(); x = y = 0.5; draw(true); },
    close: () => viewer.close(),
  };

  document.addEventListener("click", (event) => {
    const shot = event.target.closest(".shot");
    if (!shot || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    open(shot.dataset.of ? document.getElementById(shot.dataset.of) : shot.closest("[data-set]"), shot);
  });
  viewer.addEventListener("click", (event) => {
    const button = event.target.closest("[data-do]");
    if (button) actions[button.dataset.do]();
  });
  viewer.addEventListener("close", () => {
    stage.replaceChildren();
    views = [];
    const set = sets[at];
    const back = from && (set.contains(from) || from.dataset.of === set.id) ? from : set.querySelector(".shot");
    back.scrollIntoView({ block: "nearest" });
    back.focus();
  });
  viewer.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const arrows = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
    const keys = { "+": "in", "=": "in", "-": "out", "_": "out", "0": "fit", "1": "one" };
    if (event.key in arrows) {
      const [dx, dy] = arrows[event.key];
      if (event.shiftKey) panBy(dx * 60, dy * 60);
      else actions[dx + dy > 0 ? "previous" : "next"]();
    } else if (event.key in keys) actions[keys[event.key]]();
    else return;
    event.preventDefault();
  });

  // Pointers: one drags, two pinch.
  const pointers = new Map();
  const under = (event) => views.find((one) => one.box.contains(event.target));
  stage.addEventListener("pointerdown", (event) => {
    pointers.set(event.pointerId, { x: event.clientX, y: event.clientY, view: under(event) });
    stage.setPointerCapture(event.pointerId);
    stage.classList.add("moving");
  });
  stage.addEventListener("pointermove", (event) => {
    const old = pointers.get(event.pointerId);
    if (!old) return;
    const now = { x: event.clientX, y: event.clientY, view: old.view };
    const other = [...pointers].find(([id]) => id !== event.pointerId);
    if (other) {
      const [, still] = other;
      const before = Math.hypot(old.x - still.x, old.y - still.y), after = Math.hypot(now.x - still.x, now.y - still.y);
      const bounds = (old.view || views[0]).box.getBoundingClientRect();
      if (before > 0) zoomBy(after / before, old.view, (now.x + still.x) / 2 - bounds.left, (now.y + still.y) / 2 - bounds.top);
    } else panBy(now.x - old.x, now.y - old.y, old.view);
    pointers.set(event.pointerId, now);
  });
  for (const kind of ["pointerup", "pointercancel"]) {
    stage.addEventListener(kind, (event) => {
      pointers.delete(event.pointerId);
      stage.classList.toggle("moving", pointers.size > 0);
    });
  }
  stage.addEventListener("wheel", (event) => {
    event.preventDefault();
    const one = under(event);
    if (!one) return;
    const bounds = one.box.getBoundingClientRect();
    const lines = event.deltaMode === 1 ? 24 : 1;
    zoomBy(Math.exp(-event.deltaY * lines * 0.0022), one, event.clientX - bounds.left, event.clientY - bounds.top);
  }, { passive: false });
  window.addEventListener("resize", () => { if (viewer.open) { layout(); draw(false); } });
})();

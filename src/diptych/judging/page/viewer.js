// Two pictures on one canvas: they share zoom and place. Boxes are as large as the pictures, up to the room there is.

const MOST = 16; // pixels of the screen for one of the picture
const STEP = 1.25;
const LARGEST = 6; // times that a whole picture is enlarged
const WORTH = 1.25; // times that the loupe enlarges at least what was shown before
const GAP = 6;

export class Viewer {
  constructor(stage, changed) {
    this.stage = stage;
    this.views = [...stage.querySelectorAll(".view")];
    this.changed = changed;
    this.pair = null;
    this.detailed = false;
    this.zoom = 1;
    this.x = this.y = 0.5;
    this.pointers = new Map();
    this.over = null; // where the mouse is, in parts of the picture
    this.listen();
  }

  // pair: { whole: { width, height, images: [[own, other], [own, other]] }, detail: the same or null }
  show(pair) {
    this.pair = pair;
    this.detailed = false;
    this.swap(false);
    this.fill();
    this.fit();
  }

  // keepsPlace: two empty panels stay where the pictures were, so that nothing jumps when the next ones come.
  clear(keepsPlace) {
    this.pair = null;
    this.swap(false);
    for (const view of this.views) {
      view.replaceChildren();
      if (!keepsPlace) view.removeAttribute("style");
    }
    if (!this.views[0].hasAttribute("style")) this.cell();
    this.changed();
  }

  fill() {
    const { images } = this.sheet;
    this.views.forEach((view, side) => {
      const holder = document.createElement("div");
      holder.className = "sheet";
      const [own, other] = images[side];
      own.className = "own";
      own.alt = this.stacked ? ["Upper picture", "Lower picture"][side] : ["Left picture", "Right picture"][side];
      other.className = "other";
      other.alt = "";
      const tag = document.createElement("span");
      tag.className = "tag";
      tag.textContent = side ? "1" : "2";
      tag.ariaHidden = "true";
      holder.append(own, other);
      view.replaceChildren(holder, tag);
    });
  }

  get sheet() { return this.detailed ? this.pair.detail : this.pair.whole; }
  get ratio() { return window.devicePixelRatio || 1; }
  // The zoom at which one pixel of the picture is a whole number of the screen's, and about one of the page's.
  get one() { return Math.max(1, Math.round(this.ratio)) / this.ratio; }

  // The room for one picture, beside or above the other: whichever shows them larger.
  cell() {
    const width = this.stage.clientWidth, height = this.stage.clientHeight;
    const beside = [(width - GAP) / 2, height], above = [width, (height - GAP) / 2];
    if (!this.pair) this.stacked = width < height;
    else {
      const { width: w, height: h } = this.pair.whole;
      const size = ([a, b]) => Math.min(a / w, b / h);
      this.stacked = size(above) > size(beside);
    }
    document.body.classList.toggle("is-stacked", this.stacked);
    return this.stacked ? above : beside;
  }

  // As large as fits.
  whole() {
    const [width, height] = this.cell();
    return Math.min(width / this.sheet.width, height / this.sheet.height, LARGEST);
  }

  least() { return this.detailed ? Math.min(this.whole(), this.one) : this.whole(); }

  get fitted() { return !this.detailed && Math.abs(this.zoom - this.whole()) < 1e-6; }

  fit() {
    if (!this.pair) return;
    if (this.detailed) { this.detailed = false; this.fill(); }
    this.zoom = this.whole();
    this.x = this.y = 0.5;
    this.draw();
  }

  // Whole pixels, where the pointer is: 1:1, or where that is smaller than what is shown already, the next step that helps.
  loupe(at = this.over) {
    if (!this.pair) return;
    if (this.detailed || !this.fitted) { this.fit(); return; }
    const { whole, detail } = this.pair;
    let before = this.whole(); // pixels of the page for one of the picture, of two different ones the smaller
    [this.x, this.y] = at ?? [0.5, 0.5];
    if (detail) {
      before *= Math.min(whole.width / detail.width, whole.height / detail.height);
      this.detailed = true;
      this.fill();
      this.x = this.y = 0.5;
    }
    this.zoom = this.one * Math.max(1, Math.ceil((WORTH * before) / this.one));
    this.draw();
  }

  swap(on) {
    this.swapped = on && Boolean(this.pair);
    this.stage.classList.toggle("swapped", this.swapped);
    this.changed();
  }

  draw() {
    if (!this.pair) return;
    const [roomX, roomY] = this.cell();
    const { width, height } = this.sheet;
    this.zoom = Math.min(Math.max(this.zoom, this.least()), Math.max(MOST / this.ratio, this.whole()));
    this.isFitted = this.fitted;
    const boxX = Math.min(roomX, width * this.zoom), boxY = Math.min(roomY, height * this.zoom);
    const inside = (part, box, size) => {
      const half = Math.min(0.5, box / 2 / (size * this.zoom));
      return Math.min(1 - half, Math.max(half, part));
    };
    this.x = inside(this.x, boxX, width);
    this.y = inside(this.y, boxY, height);
    const snap = (value) => Math.round(value * this.ratio) / this.ratio;
    const left = snap(boxX / 2 - this.x * width * this.zoom), top = snap(boxY / 2 - this.y * height * this.zoom);
    for (const view of this.views) {
      view.style.width = `${snap(boxX)}px`;
      view.style.height = `${snap(boxY)}px`;
      const holder = view.querySelector(".sheet");
      holder.style.width = `${width * this.zoom}px`;
      holder.style.height = `${height * this.zoom}px`;
      holder.style.transform = `translate(${left}px, ${top}px)`;
    }
    if (this.fitted) document.body.style.setProperty("--pair", `${this.stacked ? boxX : 2 * boxX + GAP}px`);
    this.stage.classList.toggle("pixels", !this.fitted && this.zoom * this.ratio >= 1.999);
    this.stage.classList.toggle("movable", width * this.zoom > boxX + 1 || height * this.zoom > boxY + 1);
    this.changed();
  }

  get said() {
    if (!this.pair || this.fitted) return "";
    const times = this.zoom / this.one;
    const whole = Math.round(times);
    return Math.abs(times - whole) < 0.01 && whole >= 1 ? `${whole}:1` : `${Math.round(times * 100)} %`;
  }

  // Zoom by a factor; what is under (px, py) of a box stays there.
  zoomBy(factor, px, py) {
    if (!this.pair) return;
    const { width, height } = this.sheet;
    const view = this.views[0];
    const dx = (px ?? view.clientWidth / 2) - view.clientWidth / 2, dy = (py ?? view.clientHeight / 2) - view.clientHeight / 2;
    const before = this.zoom;
    this.zoom = Math.min(Math.max(MOST / this.ratio, this.whole()), Math.max(this.least(), before * factor));
    if (Math.abs(Math.log(this.zoom / this.one)) < 0.03) this.zoom = this.one;
    this.x += (dx * (1 / before - 1 / this.zoom)) / width;
    this.y += (dy * (1 / before - 1 / this.zoom)) / height;
    this.draw();
  }

  panBy(dx, dy) {
    if (!this.pair) return;
    this.x -= dx / (this.sheet.width * this.zoom);
    this.y -= dy / (this.sheet.height * this.zoom);
    this.draw();
  }

  key(event) {
    const far = event.shiftKey ? 240 : 60;
    const arrows = { ArrowLeft: [far, 0], ArrowRight: [-far, 0], ArrowUp: [0, far], ArrowDown: [0, -far] };
    if (event.key in arrows) this.panBy(...arrows[event.key]);
    else if (event.key === "+") this.zoomBy(STEP);
    else if (event.key === "-") this.zoomBy(1 / STEP);
    else if (event.key === "Escape") this.fit();
    else return false;
    return true;
  }

  place(event) {
    const view = this.views.find((one) => one.contains(event.target)) ?? this.views[0];
    const bounds = view.getBoundingClientRect();
    return [event.clientX - bounds.left, event.clientY - bounds.top];
  }

  part(px, py) {
    const view = this.views[0];
    return [
      this.x + (px - view.clientWidth / 2) / (this.sheet.width * this.zoom),
      this.y + (py - view.clientHeight / 2) / (this.sheet.height * this.zoom),
    ];
  }

  listen() {
    const { stage, pointers } = this;
    stage.addEventListener("wheel", (event) => {
      if (!this.pair) return;
      event.preventDefault();
      const lines = event.deltaMode === 1 ? 24 : 1;
      this.zoomBy(Math.exp(-event.deltaY * lines * 0.0022), ...this.place(event));
    }, { passive: false });
    stage.addEventListener("pointerdown", (event) => {
      if (!this.pair || event.button > 0) return;
      pointers.set(event.pointerId, { x: event.clientX, y: event.clientY, at: this.place(event) });
      try { stage.setPointerCapture(event.pointerId); } catch { /* lifted already */ }
      stage.classList.add("moving");
    });
    stage.addEventListener("pointermove", (event) => {
      if (this.pair && this.views.some((one) => one.contains(event.target))) this.over = this.part(...this.place(event));
      const old = pointers.get(event.pointerId);
      if (!old || !this.pair) return;
      const other = [...pointers].find(([id]) => id !== event.pointerId)?.[1];
      if (other) {
        const before = Math.hypot(old.x - other.x, old.y - other.y);
        const after = Math.hypot(event.clientX - other.x, event.clientY - other.y);
        const middle = [0, 1].map((i) => (old.at[i] + other.at[i]) / 2);
        if (before > 8) this.zoomBy(after / before, ...middle);
      } else this.panBy(event.clientX - old.x, event.clientY - old.y);
      pointers.set(event.pointerId, { ...old, x: event.clientX, y: event.clientY });
    });
    for (const kind of ["pointerup", "pointercancel", "lostpointercapture"]) {
      stage.addEventListener(kind, (event) => {
        pointers.delete(event.pointerId);
        stage.classList.toggle("moving", pointers.size > 0);
      });
    }
    stage.addEventListener("pointerleave", () => { this.over = null; });
    stage.addEventListener("dblclick", (event) => { if (this.pair) this.loupe(this.part(...this.place(event))); });
    new ResizeObserver(() => {
      if (!this.pair) this.clear(false);
      else if (this.isFitted) this.fit();
      else this.draw();
    }).observe(stage);
  }
}

// A box over a picture, drawn with mouse, pen, finger or keyboard. Corners are in pixels of the picture.

const SMALLEST = 8;
const STEP = 1 / 40;

export class BoxDrawing {
  constructor(stage, picture, frame, changed) {
    Object.assign(this, { stage, picture, frame, changed, box: null, size: [1, 1], start: null });
    stage.addEventListener("pointerdown", (event) => this.#begin(event));
    stage.addEventListener("pointermove", (event) => this.#drag(event));
    stage.addEventListener("pointerup", (event) => this.#end(event));
    stage.addEventListener("pointercancel", () => this.#cancel());
    stage.addEventListener("keydown", (event) => this.#key(event));
  }

  reset(width, height) {
    this.size = [width, height];
    this.start = null;
    this.show(null);
  }

  // Shows a box, or the whole picture for null, without saying so.
  show(box) {
    this.box = box;
    place(this.frame, box, this.size);
  }

  set(box) {
    this.show(box && tidy(box, this.size));
    this.changed(this.box);
  }

  #at(event) {
    const area = this.picture.getBoundingClientRect();
    return [
      ((event.clientX - area.left) / area.width) * this.size[0],
      ((event.clientY - area.top) / area.height) * this.size[1],
    ];
  }

  #begin(event) {
    if (event.button !== 0) return;
    this.stage.setPointerCapture(event.pointerId);
    this.start = this.#at(event);
    this.before = this.box;
  }

  #drag(event) {
    if (this.start) this.show(tidy([...this.start, ...this.#at(event)], this.size));
  }

  #end(event) {
    if (!this.start) return;
    const [x, y] = this.#at(event);
    const area = this.picture.getBoundingClientRect();
    const moved = Math.max((Math.abs(x - this.start[0]) / this.size[0]) * area.width,
      (Math.abs(y - this.start[1]) / this.size[1]) * area.height);
    const box = [...this.start, x, y];
    this.start = null;
    if (moved < SMALLEST) this.show(this.before); // a click or a tap, no box
    else this.set(box);
  }

  #cancel() {
    if (this.start) this.show(this.before);
    this.start = null;
  }

  #key(event) {
    const [width, height] = this.size;
    if (event.key === "Enter" && !this.box) {
      this.set([width / 4, height / 4, (width * 3) / 4, (height * 3) / 4]);
    } else if (event.key === "Escape" && this.box) {
      this.set(null);
    } else if (event.key.startsWith("Arrow") && this.box) {
      const right = { ArrowLeft: -1, ArrowRight: 1 }[event.key] ?? 0;
      const down = { ArrowUp: -1, ArrowDown: 1 }[event.key] ?? 0;
      const [x1, y1, x2, y2] = this.box;
      const dx = right * width * STEP;
      const dy = down * height * STEP;
      if (event.shiftKey) {
        if (x2 + dx - x1 > width * STEP && y2 + dy - y1 > height * STEP) this.set([x1, y1, x2 + dx, y2 + dy]);
      } else {
        const mx = Math.max(-x1, Math.min(width - x2, dx));
        const my = Math.max(-y1, Math.min(height - y2, dy));
        this.set([x1 + mx, y1 + my, x2 + mx, y2 + my]);
      }
    } else {
      return;
    }
    event.preventDefault();
  }
}

// Corners in order, whole, inside the picture, at least one pixel apart.
export function tidy([ax, ay, bx, by], [width, height]) {
  const inside = (value, most) => Math.round(Math.max(0, Math.min(most, value)));
  const x1 = Math.min(inside(Math.min(ax, bx), width), width - 1);
  const y1 = Math.min(inside(Math.min(ay, by), height), height - 1);
  return [x1, y1, Math.max(inside(Math.max(ax, bx), width), x1 + 1), Math.max(inside(Math.max(ay, by), height), y1 + 1)];
}

// Puts an element over a box of a picture of some size; hides it without a box.
export function place(element, box, [width, height]) {
  element.hidden = !box;
  if (!box) return;
  element.style.left = `${(box[0] / width) * 100}%`;
  element.style.top = `${(box[1] / height) * 100}%`;
  element.style.width = `${((box[2] - box[0]) / width) * 100}%`;
  element.style.height = `${((box[3] - box[1]) / height) * 100}%`;
}

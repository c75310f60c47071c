// A box on a picture, drawn with mouse, pen, finger or keyboard. A box is [x1, y1, x2, y2] in pixels of the picture.

const MIN_DRAG_PX = 8; // a shorter drag on the screen is a click
const KEY_STEP = 1 / 40; // share of the picture's width or height

export class BoxDrawing {
  constructor(stage, picture, frame, onChange) {
    Object.assign(this, { stage, picture, frame, onChange, box: null, size: [1, 1], start: null });
    stage.addEventListener("pointerdown", (event) => this.#startDrag(event));
    stage.addEventListener("pointermove", (event) => this.#drag(event));
    stage.addEventListener("pointerup", (event) => this.#endDrag(event));
    stage.addEventListener("pointercancel", () => this.#cancelDrag());
    stage.addEventListener("keydown", (event) => this.#pressKey(event));
  }

  reset(width, height) {
    this.size = [width, height];
    this.start = null;
    this.show(null);
  }

  // Shows a box, or none for null (the whole picture), without a call of onChange.
  show(box) {
    this.box = box;
    positionOverlay(this.frame, box, this.size);
  }

  set(box) {
    this.show(box && normalizeBox(box, this.size));
    this.onChange(this.box);
  }

  #pictureCoordinates(event) {
    const area = this.picture.getBoundingClientRect();
    return [
      ((event.clientX - area.left) / area.width) * this.size[0],
      ((event.clientY - area.top) / area.height) * this.size[1],
    ];
  }

  #startDrag(event) {
    if (event.button !== 0) return;
    this.stage.setPointerCapture(event.pointerId);
    this.start = this.#pictureCoordinates(event);
    this.boxBeforeDrag = this.box;
  }

  #drag(event) {
    if (this.start) this.show(normalizeBox([...this.start, ...this.#pictureCoordinates(event)], this.size));
  }

  #endDrag(event) {
    if (!this.start) return;
    const [x, y] = this.#pictureCoordinates(event);
    const area = this.picture.getBoundingClientRect();
    const distance = Math.max((Math.abs(x - this.start[0]) / this.size[0]) * area.width,
      (Math.abs(y - this.start[1]) / this.size[1]) * area.height);
    const box = [...this.start, x, y];
    this.start = null;
    if (distance < MIN_DRAG_PX) this.show(this.boxBeforeDrag);
    else this.set(box);
  }

  #cancelDrag() {
    if (this.start) this.show(this.boxBeforeDrag);
    this.start = null;
  }

  #pressKey(event) {
    const [width, height] = this.size;
    if (event.key === "Enter" && !this.box) {
      this.set([width / 4, height / 4, (width * 3) / 4, (height * 3) / 4]);
    } else if (event.key === "Escape" && this.box) {
      this.set(null);
    } else if (event.key.startsWith("Arrow") && this.box) {
      const signX = { ArrowLeft: -1, ArrowRight: 1 }[event.key] ?? 0;
      const signY = { ArrowUp: -1, ArrowDown: 1 }[event.key] ?? 0;
      const [x1, y1, x2, y2] = this.box;
      const dx = signX * width * KEY_STEP;
      const dy = signY * height * KEY_STEP;
      if (event.shiftKey) {
        if (x2 + dx - x1 > width * KEY_STEP && y2 + dy - y1 > height * KEY_STEP) this.set([x1, y1, x2 + dx, y2 + dy]);
      } else {
        const moveX = Math.max(-x1, Math.min(width - x2, dx));
        const moveY = Math.max(-y1, Math.min(height - y2, dy));
        this.set([x1 + moveX, y1 + moveY, x2 + moveX, y2 + moveY]);
      }
    } else {
      return;
    }
    event.preventDefault();
  }
}

// Returns a box with ordered corners at whole pixels inside the picture, at least one pixel wide and high.
export function normalizeBox([ax, ay, bx, by], [width, height]) {
  const clamp = (value, limit) => Math.round(Math.max(0, Math.min(limit, value)));
  const x1 = Math.min(clamp(Math.min(ax, bx), width), width - 1);
  const y1 = Math.min(clamp(Math.min(ay, by), height), height - 1);
  return [x1, y1, Math.max(clamp(Math.max(ax, bx), width), x1 + 1), Math.max(clamp(Math.max(ay, by), height), y1 + 1)];
}

// Positions an element over a box of a picture, or hides the element if there is no box.
export function positionOverlay(element, box, [width, height]) {
  element.hidden = !box;
  if (!box) return;
  element.style.left = `${(box[0] / width) * 100}%`;
  element.style.top = `${(box[1] / height) * 100}%`;
  element.style.width = `${((box[2] - box[0]) / width) * 100}%`;
  element.style.height = `${((box[3] - box[1]) / height) * 100}%`;
}

// Draws the cells of a map as a transparent layer: positive values in warm colours, negative ones in blue.

const WARM_COLORS = [[255, 183, 3], [214, 40, 40]]; // of small and of large values
const BLUE = [60, 120, 216];

export function drawHeat(canvas, cells) {
  const height = cells.length;
  const width = cells[0].length;
  const largest = Math.max(1e-12, ...cells.flat().map(Math.abs));
  const small = new OffscreenCanvas(width, height);
  const context = small.getContext("2d");
  const image = context.createImageData(width, height);
  cells.flat().forEach((value, i) => {
    const strength = Math.abs(value) / largest;
    const color = value < 0 ? BLUE : WARM_COLORS[0].map((from, c) => from + (WARM_COLORS[1][c] - from) * strength);
    image.data.set([...color, 200 * Math.max(0, (strength - 0.15) / 0.85)], i * 4);
  });
  context.putImageData(image, 0, 0);
  canvas.width = width * 16;
  canvas.height = height * 16;
  const layer = canvas.getContext("2d");
  layer.imageSmoothingEnabled = true;
  layer.imageSmoothingQuality = "high";
  layer.clearRect(0, 0, canvas.width, canvas.height);
  layer.drawImage(small, 0, 0, canvas.width, canvas.height);
}

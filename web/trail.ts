import { setAttribute } from "./dom.ts";

/** Steps of the line at most; the oldest go. */
const STEPS_MAX = 60;
const [WIDTH, HEIGHT, MARGIN] = [96, 26, 3];
const SVG = "http://www.w3.org/2000/svg";

/** A small line of where a price has been since the page first saw it: a step for each change. */
export class Trail {
  readonly element = document.createElementNS(SVG, "svg");
  readonly #line = document.createElementNS(SVG, "polyline");
  readonly #prices: number[] = [];

  constructor() {
    const attributes = {
      class: "trail",
      viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
      width: WIDTH,
      height: HEIGHT,
      "aria-hidden": "true",
    };
    for (const [name, value] of Object.entries(attributes)) setAttribute(this.element, name, String(value));
    this.element.append(this.#line);
  }

  add(price: number): void {
    this.#prices.push(price);
    if (this.#prices.length > STEPS_MAX) this.#prices.shift();
    if (this.#prices.length > 1) setAttribute(this.#line, "points", this.#points());
  }

  #points(): string {
    const [low, high] = [Math.min(...this.#prices), Math.max(...this.#prices)];
    const across = (WIDTH - 2 * MARGIN) / (this.#prices.length - 1);
    const up = (HEIGHT - 2 * MARGIN) / (high - low || 1);
    const points = this.#prices.map((price, at) => {
      const [x, y] = [(MARGIN + at * across).toFixed(1), (HEIGHT - MARGIN - (price - low) * up).toFixed(1)];
      return { x, y };
    });
    return points.map(({ x, y }, at) => `${x},${points[Math.max(0, at - 1)].y} ${x},${y}`).join(" ");
  }
}

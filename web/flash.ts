const still = matchMedia("(prefers-reduced-motion: reduce)");
const running = new WeakMap<Element, Animation>();

/** Lights an element up for a moment, in the colour that its style gives as `--flash`; a new flash takes the place of the old. */
export function flash(target: HTMLElement): void {
  if (still.matches) return;
  running.get(target)?.cancel();
  running.set(target, target.animate([{ backgroundColor: "var(--flash)" }, {}], { duration: 900, easing: "ease-out" }));
}

/** Runs `draw` once on the next animation frame, however often it is asked to: prices come faster than screens. */
export function everyFrame(draw: () => void): () => void {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      draw();
    });
  };
}

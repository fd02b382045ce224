/** How a bench is run otherwise than as it should be: to see that it works. */
export interface BenchOptions {
  readonly runs?: number;
  readonly seconds?: number;
  readonly users?: number;
}

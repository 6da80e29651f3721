/**
 * Collects the garbage of the start before the first requests are due, because it takes 60 ms on a slow host. Does
 * nothing unless Node was started with `--expose-gc`, as the command is.
 */
export function collectGarbage(): void {
  globalThis.gc?.();
}

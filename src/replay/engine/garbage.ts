/**
 * Collects what the start left behind, so that this is not done while the first requests are due: it takes 60 ms of a
 * slow host. Does nothing unless Node was started with `--expose-gc`, as the command is.
 */
export function collectGarbage(): void {
  globalThis.gc?.();
}

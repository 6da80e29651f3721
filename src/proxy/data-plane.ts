import type { Endpoint } from './endpoint.ts';

/** Where one pair of addresses is listened on and forwarded to. */
export interface Pair {
  readonly listen: Endpoint;
  readonly target: Endpoint;
}

/**
 * What a forwarder process runs: it holds the sockets, passes traffic on and tells taps of it. Both planes look
 * like this to whoever starts, drains and counts them.
 */
export interface DataPlane {
  /**
   * Starts to listen on every address.
   * @returns the addresses that were bound, in the order they were asked for
   * @throws AppError LISTEN_FAILED; nothing is listened on then
   */
  listen(): Promise<readonly Endpoint[]>;
  /** Open client connections, and those turned away: by the limit, or because accepting failed. */
  readonly connections: { readonly open: number; readonly turnedAway: number };
  /**
   * Stops accepting and forwards until the connections end, or the deadline does.
   * @returns how many connections the deadline cut
   */
  drain(deadlineMs: number): Promise<number>;
  /** Ends every open connection at once. */
  cut(): void;
}

import { BroadcastChannel } from 'node:worker_threads';
import type { EngineOptions, ReplayEngine } from '../../src/replay/engine.ts';
import { engineFor } from './engine.ts';

/** Of this process: a channel leads to all of its threads. */
export const LAUNCHED_CHANNEL = 'launched';
/** Requests that are noted. */
export const LAUNCHED_MOST = 4_096;

/** An engine whose pacer notes which requests it has written. Its own otherwise. */
export class NotingEngine {
  readonly engine: ReplayEngine;
  readonly #memory: Promise<Int32Array>;

  constructor(origin: string, options: Partial<EngineOptions> = {}) {
    const channel = new BroadcastChannel(LAUNCHED_CHANNEL);
    this.#memory = new Promise((resolve) => {
      channel.onmessage = ({ data }) => {
        channel.close();
        resolve(new Int32Array(data as SharedArrayBuffer));
      };
    });
    this.engine = engineFor(origin, options, undefined, new URL('./counting-pacer.ts', import.meta.url));
  }

  /** Indexes of the requests that the pacer wrote, in the order of its writes. */
  async launched(): Promise<number[]> {
    const memory = await this.#memory;
    return [...memory.subarray(1, 1 + (memory[0] as number))];
  }
}

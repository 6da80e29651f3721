import type { PlaneOptions } from '../../src/proxy/control/messages.ts';

export type Plane = PlaneOptions['mode'];

/** Both data planes, each with the flags of `reprise record` that ask for it: what holds of one holds of the other. */
export const PLANES: readonly (readonly [plane: Plane, flags: readonly string[]])[] = [
  ['wire', []],
  ['gateway', ['--mode', 'gateway']],
];

import type { PlaneOptions } from '../../src/proxy/control/messages.ts';

export type Plane = PlaneOptions['mode'];

/** Both data planes, each with its flags of `reprise record`. The same tests apply to both. */
export const PLANES: readonly (readonly [plane: Plane, flags: readonly string[]])[] = [
  ['wire', []],
  ['gateway', ['--mode', 'gateway']],
];

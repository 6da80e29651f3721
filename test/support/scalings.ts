import { type Layer, Scaling } from '../../src/replay/plan/scaling.ts';

/** A scaling with the given options; by default compressed, with full coverage. */
export function scalingAt(
  multiplier: number,
  parts: Partial<Scaling['options']> = {},
  { coverage = 1, layers }: { readonly coverage?: number | null; readonly layers?: readonly Layer[] } = {},
): Scaling {
  const options: Scaling['options'] = {
    multiplier,
    scaling: 'compress',
    stages: null,
    targetShare: 1,
    seed: 1,
    rate: null,
    concurrency: null,
    jitterMs: 0,
    perturb: [],
    ...parts,
  };
  return new Scaling(options, coverage, layers);
}

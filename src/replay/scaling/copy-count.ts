import type { Arrival } from '../arrival.ts';
import { SessionMemory, sessionName } from '../sessions.ts';
import type { RateCurve } from '../stages.ts';
import { type DrawKey, drawKeyOf, type SeededDraws } from './draws.ts';
import type { ScalingName } from './kinds.ts';

/** A stretch of the capture laid over the window; the first is the window itself. */
export interface LayerLoad {
  /** Exchanges of the window and of the layers laid before this one, and of this one. */
  readonly before: number;
  readonly exchanges: number;
}

/** How often the sessions of a recording are played. */
export interface SessionLoad {
  /** Share of the sessions that is played at all. */
  readonly kept: number;
  /** How often each of those is played, on average. */
  readonly copies: number;
}

/**
 * What a multiplier asks of sessions. What the capture does not cover of what was seen, and what the target is
 * not of what was recorded, is made up for first by how many sessions are kept, then by copies.
 */
export function sessionLoad(
  scaling: ScalingName,
  multiplier: number,
  parts: { readonly targetShare: number; readonly coverage: number },
): SessionLoad {
  const wanted = (parts.targetShare / parts.coverage) * (scaling === 'thin' ? multiplier : 1);
  const kept = Math.min(1, wanted);
  return { kept, copies: (wanted / kept) * (scaling === 'amplify' ? multiplier : 1) };
}

export interface CopyCountParts {
  readonly scaling: ScalingName;
  readonly curve: RateCurve;
  readonly targetShare: number;
  readonly coverage: number;
  readonly layers: readonly LayerLoad[];
  readonly draws: SeededDraws;
}

/** How often a session is played, and the exchange by which that was decided. */
interface Decision {
  readonly times: number;
  readonly segment: string;
  readonly id: number;
}

/** Decides how often each session is played: 0 leaves it out. Whole sessions: its first exchange decides. */
export class CopyCount {
  readonly #parts: CopyCountParts;
  /** One for each layer; none where every exchange of a session is bound to be told the same. */
  readonly #memories: readonly SessionMemory<Decision>[];

  constructor(parts: CopyCountParts) {
    this.#parts = parts;
    const varies = parts.scaling !== 'compress' && !parts.curve.constant;
    this.#memories = varies ? parts.layers.map(() => new SessionMemory<Decision>()) : [];
  }

  /** Sessions that came back after they had been forgotten may have been decided anew. */
  get forgotten(): number {
    return this.#memories.reduce((sum, memory) => sum + memory.forgotten, 0);
  }

  of(arrival: Arrival): number {
    const name = this.#memories.length === 0 ? null : sessionName(arrival.row);
    const { row, offsetUs, layer = 0 } = arrival;
    const decide = () => this.#decide(drawKeyOf(row), layer, offsetUs * 1e3);
    if (name === null) return decide();
    const { times } = this.#memories[layer]!.of(
      name,
      offsetUs,
      () => ({ times: decide(), segment: row.segment, id: row.id }),
      ({ segment, id }) => row.id === id && row.segment === segment,
    );
    return times;
  }

  #decide(key: DrawKey, layer: number, offsetNs: number): number {
    const { scaling, curve, draws } = this.#parts;
    const multiplier = curve.multiplierAt(offsetNs);
    const { kept, copies } = sessionLoad(scaling, multiplier, this.#parts);
    const share = kept * this.layerShare(layer, multiplier);
    if (share < 1 && draws.draw(key, 'kept', layer) >= share) return 0;
    const whole = Math.floor(copies);
    return copies > whole && draws.draw(key, 'copies', layer) < copies - whole ? whole + 1 : whole;
  }

  /** Share of a layer's sessions that brings the window's exchanges to so many times their number. */
  layerShare(layer: number, multiplier: number): number {
    const load = this.#parts.layers[layer];
    if (layer === 0 || load === undefined) return 1;
    const window = this.#parts.layers[0]?.exchanges ?? 0;
    return Math.min(1, Math.max(0, (multiplier * window - load.before) / load.exchanges));
  }
}

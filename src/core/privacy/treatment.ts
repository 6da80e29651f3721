/**
 * How a value is covered. Beside what a user can ask for, presets know `keep`, which leaves a short word (the
 * `type` of a message's part) as it is inside of something masked, and `mask_json`, whose mask is itself JSON.
 */
export type Covering = 'keep' | 'hash' | 'mask' | 'mask_json' | 'drop';

/** What a rule says about the values its pointer names. */
export interface Treatment {
  readonly covering: Covering;
  /** Where several rules name a value, or something around it, the strongest holds. */
  readonly strength: number;
  /** The rule's pointer, as it is noted beside a message. */
  readonly name: string;
}

/**
 * What a user asks for is stronger than any preset, and more hiding is stronger than less; but a preset that says
 * how a value within a masked one is to be masked, or that it is kept, means it.
 */
export const STRENGTH = {
  preset: { hash: 1, mask: 2, mask_json: 3, drop: 4, keep: 5 },
  user: { hash: 6, mask: 7, drop: 8 },
} as const;

/** The stronger of two treatments; null is none. */
export function strongerOf(one: Treatment | null, other: Treatment | null): Treatment | null {
  if (one === null || other === null) return one ?? other;
  return other.strength > one.strength ? other : one;
}

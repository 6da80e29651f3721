import type { ComparisonReason, ComparisonVerdict } from './compare-pairs.ts';
import type { ComparedMetric } from './compared-metric.ts';
import type { ComparisonBounds } from './comparison-bounds.ts';
import type { FactDifference } from './run-facts.ts';
import type { WindowLine } from './window-lines.ts';

/** One of the two things that are compared. */
export interface ComparedSide {
  readonly kind: 'run' | 'recording' | 'profile';
  /** Where it lies, as it was named. */
  readonly name: string;
  /** Of a run; else null. */
  readonly run: string | null;
  readonly target: string | null;
  readonly version: string | null;
  readonly startedAt: string | null;
  /** Of a run its own verdict. */
  readonly verdict: string | null;
}

/** One figure of two profiles. */
export interface ShiftedFigure {
  readonly name: string;
  /** Which bound it is held against. */
  readonly group: string;
  readonly a: number | null;
  readonly b: number | null;
  /** B ÷ A; null where it says nothing. */
  readonly ratio: number | null;
  /** How far they lie apart, and how far they may: shares. */
  readonly shift: number | null;
  readonly bound: number;
  readonly interval: null;
  readonly verdict: 'same' | 'worse' | 'undecided';
}

/** What `compare --json` prints. Null is not known or not measured, never 0. */
export interface ComparisonDocument {
  readonly schemaVersion: 1;
  readonly kind: 'comparison';
  readonly compares: 'runs' | 'recording' | 'profiles';
  readonly verdict: ComparisonVerdict;
  readonly reasons: readonly ComparisonReason[];
  readonly notes: readonly ComparisonReason[];
  readonly a: ComparedSide;
  readonly b: ComparedSide;
  /** Requests on both sides; of profiles null. */
  readonly pairs: number | null;
  readonly unpaired: { readonly onlyA: number; readonly onlyB: number; readonly leftOut: number } | null;
  /** What both sides should have in common and have not; empty unless it was allowed. */
  readonly differences: readonly FactDifference[];
  readonly metrics: readonly (ComparedMetric | ShiftedFigure)[];
  /** Names of the metrics that could not be told: the verdict says nothing of them. */
  readonly undecided: readonly string[];
  /** Over the plan; empty for profiles. */
  readonly windows: readonly WindowLine[];
  /** Beyond these something has changed; of profiles the bounds of the groups. */
  readonly bounds: ComparisonBounds | Readonly<Record<string, number>>;
}

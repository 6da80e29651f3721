import { z } from 'zod';

/** The type of a document or a part of it; documents are immutable. */
export type Immutable<T> = T extends object ? { readonly [Key in keyof T]: Immutable<T[Key]> } : T;

export const count = z.int().min(0);
export const counts = z.record(z.string(), count);
export const share = z.number().min(0).max(1);
/** Null means unknown or not measured, never 0. */
export const maybeNumber = z.number().nullable();
export const maybeText = z.string().nullable();
/** `"Infinity"` if too many requests had no answer: JSON has no such number. */
export const observation = z.union([z.number(), z.literal('Infinity')]).nullable();
export const interval = z.tuple([z.number(), z.number()]).nullable();

export const reason = z.object({
  code: z.string(),
  text: z.string().describe('What was found.'),
  advice: z.string().describe('What to do.'),
});

export const runReason = reason.extend({
  severity: z.enum(['fail', 'doubt', 'note']).describe('Whether it can change the verdict: a note cannot.'),
  title: z.string(),
  means: z.string().describe('What it means for a decision.'),
});

/** Widths of the windows in which arrivals are counted for the index of dispersion, seconds. */
export const IDC_WINDOWS = ['0.1', '1', '10', '60', '600'] as const;
export type IdcWindow = (typeof IDC_WINDOWS)[number];

export const idc = z
  .record(z.enum(IDC_WINDOWS), maybeNumber)
  .describe('Index of dispersion for counts by window in seconds; null below 20 windows.');

export const distribution = z.object({
  count,
  mean: maybeNumber,
  p50: maybeNumber,
  p90: maybeNumber,
  p95: maybeNumber,
  p99: maybeNumber,
  max: maybeNumber,
});
export type Distribution = Immutable<z.infer<typeof distribution>>;

/** The window that was searched and found. Seconds are epoch seconds. */
export const foundStretch = z.object({
  kind: z.enum(['busiest', 'slowest']),
  fromSecond: z.number(),
  toSecond: z.number(),
  exchanges: count,
  meanLatencyMs: maybeNumber,
});

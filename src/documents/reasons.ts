import { z } from 'zod';
import type { Immutable } from './parts.ts';

/** What a reason is about. Documents of earlier versions do not say. */
export const subject = {
  about: z
    .array(z.string())
    .optional()
    .describe(
      'The objectives that it is about, by their expressions, or the compared metrics; empty if it is about the whole.',
    ),
  figures: z.record(z.string(), z.unknown()).optional().describe('The numbers of `text`, by name.'),
};

export const reason = z.object({
  code: z.string(),
  text: z.string().describe('What was found.'),
  advice: z.string().describe('What to do.'),
  ...subject,
});

export const runReason = reason.extend({
  severity: z.enum(['fail', 'doubt', 'note']).describe('Whether it can change the verdict: a note cannot.'),
  title: z.string(),
  means: z.string().describe('What it means for a decision.'),
});
type RunReason = Immutable<z.infer<typeof runReason>>;

/** The parts of a run that its reasons refer to. */
interface Judged {
  readonly slo: readonly { readonly expression: string }[];
  readonly reasons: readonly RunReason[];
  readonly notes: readonly RunReason[];
}

/** Adds what reasons are about, which earlier versions only wrote at the beginning of their texts. */
export function withSubjects<Document extends Judged>(document: Document): Document {
  const named = document.slo.map(({ expression }) => expression).sort((a, b) => b.length - a.length);
  const stated = (each: RunReason): RunReason => {
    if (each.about !== undefined) return each;
    const about = named.find((expression) =>
      [': ', ' needs '].some((next) => each.text.startsWith(`${expression}${next}`)),
    );
    return { ...each, about: about === undefined ? [] : [about] };
  };
  return { ...document, reasons: document.reasons.map(stated), notes: document.notes.map(stated) };
}

/**
 * Facts as JSON, which has no infinity. What they say of objectives is in `about`; of an objective they have only its
 * `limit`.
 */
export function figuresOf(facts: object | null): Readonly<Record<string, unknown>> {
  const text = JSON.stringify(facts ?? {}, (_, value: unknown) => {
    if (typeof value === 'object' && value !== null && 'objective' in value) return withLimit(value);
    return value === Number.POSITIVE_INFINITY ? 'Infinity' : value;
  });
  return JSON.parse(text) as Readonly<Record<string, unknown>>;
}

function withLimit(facts: object): object {
  return Object.fromEntries(
    Object.entries(facts).map(([name, value]) =>
      name === 'objective' ? ['limit', (value as { readonly limit: number }).limit] : [name, value],
    ),
  );
}

import { decodeContent } from '../../core/content-coding.ts';
import { UnreadableBody } from '../../core/errors.ts';
import type { Place } from '../../core/exchange.ts';
import { LIMITS } from '../../core/limits.ts';
import { decodePercent } from '../../core/text.ts';
import { isEventStream, isJsonLines, isPlain } from '../../inference/features.ts';
import { ValueHash } from '../../inference/links/values.ts';
import { EventData } from '../../inference/stream-events.ts';
import type { AnswerFields, AnswerHead } from './read-answer.ts';

type Found = (at: number, value: string) => void;
type EventPlace = Extract<Place, { in: 'event' }>;

/** Reads the values at some places of an answer as soon as they come. */
export class IssuedValues {
  readonly #places: readonly Place[];
  readonly #coding: string | null;
  readonly #found: Found;
  readonly #events: EventData | null;
  /** Different values so far by event and pointer. */
  readonly #met = new Map<string, string[]>();
  #pieces: Buffer[] | null;
  #length = 0;

  constructor(
    places: readonly Place[],
    { contentType, contentEncoding, fields = {} }: AnswerHead,
    found: Found,
  ) {
    this.#places = places;
    this.#coding = contentEncoding;
    this.#found = found;
    for (const [at, place] of places.entries()) {
      const value = headValue(place, fields);
      if (value !== null) found(at, value);
    }
    const isStream = isEventStream(contentType) || isJsonLines(contentType);
    const reads = isStream && isPlain(contentEncoding) && places.some((place) => place.in === 'event');
    const form = isEventStream(contentType) ? 'events' : 'lines';
    this.#events = reads
      ? new EventData(form, (data, event) => this.#event(data, event), LIMITS.answerEventBytes)
      : null;
    this.#pieces = !isStream && places.some((place) => place.in === 'json') ? [] : null;
  }

  write(bytes: Buffer): void {
    this.#events?.write(bytes);
    if (this.#pieces === null) return;
    this.#length += bytes.length;
    if (this.#length > LIMITS.issuingAnswerBytes) this.#pieces = null;
    // Copied, because the bytes are a view of the socket's read buffer.
    else this.#pieces.push(Buffer.from(bytes));
  }

  /** Call it when the answer is over, complete or not. */
  end(): void {
    this.#events?.end();
    const document = this.#pieces === null ? undefined : parsed(this.#pieces, this.#coding);
    this.#pieces = null;
    if (document === undefined) return;
    for (const [at, place] of this.#places.entries()) {
      const value = place.in === 'json' ? textAt(document, place.pointer) : null;
      if (value !== null) this.#found(at, value);
    }
  }

  #event(data: string, event: string): void {
    const places = this.#places.filter(
      (place) => place.in === 'event' && place.event === event,
    ) as EventPlace[];
    if (places.length === 0 || !data.startsWith('{')) return;
    let document: unknown;
    try {
      document = JSON.parse(data);
    } catch {
      // Not JSON: it has no places.
      return;
    }
    for (const pointer of new Set(places.map((place) => place.pointer))) {
      const value = textAt(document, pointer);
      if (value === null || !mayBeIssued(value)) continue;
      const values = this.#met.get(`${event} ${pointer}`) ?? [];
      if (values.includes(value)) continue;
      this.#met.set(`${event} ${pointer}`, [...values, value]);
      const at = this.#places.findIndex(
        (place) =>
          place.in === 'event' &&
          place.event === event &&
          place.pointer === pointer &&
          place.nth === values.length,
      );
      if (at >= 0) this.#found(at, value);
    }
  }
}

const hash = new ValueHash([1, 2]);

/** Whether links count a value among those at its place. */
function mayBeIssued(value: string): boolean {
  const bytes = Buffer.from(value);
  return hash.read(bytes, 0, bytes.length) === bytes.length && hash.take(bytes, 0, bytes.length);
}

function headValue(place: Place, fields: AnswerFields): string | null {
  if (place.in === 'header') return listOf(fields[place.name]).at(-1) ?? null;
  if (place.in === 'cookie') return cookiesOf(fields).get(place.name) ?? null;
  const location = place.in === 'path' ? listOf(fields['location'])[0] : undefined;
  if (location === undefined || place.in !== 'path') return null;
  const path = /^(?:[a-z][a-z0-9+.-]*:)?(?:\/\/[^/?#]*)?([^?#]*)/i.exec(location)?.[1] ?? '';
  const segment = path.split('/')[place.segment + 1];
  return segment === undefined || segment === '' ? null : decodePercent(segment);
}

export function listOf(value: string | string[] | undefined): readonly string[] {
  if (value === undefined) return [];
  return Array.isArray(value) ? value : [value];
}

/** The cookies that an answer sets, by name. */
export function cookiesOf(fields: AnswerFields): Map<string, string> {
  const cookies = new Map<string, string>();
  for (const line of listOf(fields['set-cookie'])) {
    const [, name, value] = /^\s*([^=;\s]+)\s*=\s*([^;]*)/.exec(line) ?? [];
    if (name !== undefined && value !== undefined) cookies.set(name, value.trim());
  }
  return cookies;
}

/** Undefined if it is no JSON that can be read. */
function parsed(pieces: readonly Buffer[], coding: string | null): unknown {
  try {
    const { bytes } = decodeContent(Buffer.concat(pieces), coding);
    return JSON.parse(Buffer.from(bytes).toString('utf8'));
  } catch (error) {
    // An answer that was cut, or is no JSON, has no values. Whoever needs them counts as diverged.
    if (error instanceof SyntaxError || error instanceof UnreadableBody) return undefined;
    throw error;
  }
}

/** The text at a place that links name: members are split by slashes, because no linked member has one in its name. */
function textAt(document: unknown, pointer: string): string | null {
  let value = document;
  for (const step of pointer.split('/').slice(1)) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, step)) return null;
    value = (value as Record<string, unknown>)[step];
  }
  return typeof value === 'string' && value !== '' ? value : null;
}

import { decodedOrNull } from '../../core/content-coding.ts';
import type { ExchangePayload, ExchangeRow, Linked, Message, Place } from '../../core/exchange.ts';
import { headerPairsOf, headerValue, latin1 } from '../../core/headers.ts';
import { LIMITS } from '../../core/limits.ts';
import { isEventStream, isJsonLines } from '../features.ts';
import { type Issuer, Linker, type OnMissed } from './linker.ts';

/** An exchange of a capture. */
export type ExchangeId = Pick<ExchangeRow, 'segment' | 'id'>;

/** A link between exchanges of a capture. */
export interface FoundLink {
  /** Null if it is not known: it was lost or forgotten, or came before the first exchange that was read. */
  readonly from: ExchangeId | null;
  /** Where the value is in the answer of `from`. */
  readonly place: Place;
  /** Where it is in the request of this exchange. */
  readonly to: Place;
}

/** A value of an answer, and when it came. */
type Held = readonly [atUs: number, issuer: Issuer, low: number, high: number, place: number];

/** What is known of a session. */
interface OpenSession {
  /** Values of its answers that no request has come after. */
  held: Held[];
  /** Its exchanges by their numbers, each with the kind of its number in front. */
  readonly exchanges: Map<string, ExchangeId>;
}

/** Any numbers: who made a capture can make values collide only in what is read of it. */
const SALTS = [0x6c696e6b, 0x72656164] as const;
/** Most exchanges of a session that links may come from, and most values that are held of it. */
const EXCHANGES = 4_096;
const HELD = 4_096;
const NOTHING = Buffer.alloc(0);

/**
 * Gives the links of a capture's exchanges: those found while it was recorded, or those that its payloads show. What is
 * masked shows none. Call `of` for each exchange in the order of arrival.
 */
export class LinkReader {
  readonly #onMissed: OnMissed;
  readonly #linker: Linker;
  readonly #sessions = new Map<string, OpenSession>();

  constructor(onMissed: OnMissed) {
    this.#onMissed = onMissed;
    this.#linker = new Linker(SALTS, onMissed);
  }

  /** @param payload null if the capture has none of it */
  of(row: ExchangeRow, payload: ExchangePayload | null): readonly FoundLink[] {
    if (row.session === null || payload === null) return [];
    const session = this.#sessionOf(Buffer.from(row.session).toString('hex'));
    if (payload.linked != null) return this.#found(session, row, row.recorder, payload.linked);
    const { request, response } = payload;
    if (request === null) return [];
    this.#issueHeld(session, row.arrivalUs);
    const linked = this.#linker.request({
      session: row.session,
      route: row.route ?? '',
      head: unmaskedHead(request),
      body: readableBody(request),
      contentType: headerValue(headerPairsOf(request.head), 'content-type'),
    });
    const issuer = { session: row.session, number: linked.number };
    if (response !== null) this.#hold(session.held, issuer, row, response, payload.responseChunks);
    return this.#found(session, row, 'read', linked);
  }

  /** The session, as the latest one. Beyond the limit the one without a request for longest is given up. */
  #sessionOf(key: string): OpenSession {
    const session = this.#sessions.get(key) ?? { held: [], exchanges: new Map() };
    this.#sessions.delete(key);
    this.#sessions.set(key, session);
    this.#dropOldest(this.#sessions, LIMITS.linkedSessions);
    return session;
  }

  /** @param life whose numbers the exchanges have */
  #found(
    { exchanges }: OpenSession,
    { segment, id }: ExchangeRow,
    life: string,
    linked: Linked,
  ): FoundLink[] {
    exchanges.set(`${life} ${linked.number}`, { segment, id });
    this.#dropOldest(exchanges, EXCHANGES);
    return linked.links.map(({ from, place, to }) => ({
      from: exchanges.get(`${life} ${from}`) ?? null,
      place,
      to,
    }));
  }

  #dropOldest(map: Map<string, unknown>, most: number): void {
    const [oldest] = map.size > most ? map.keys() : [];
    if (oldest !== undefined && map.delete(oldest)) this.#onMissed('forgotten', 1);
  }

  /** Only a request that comes after a value can have it from there. */
  #issueHeld(session: OpenSession, nowUs: number): void {
    const later: Held[] = [];
    for (const held of session.held.sort((a, b) => a[0] - b[0])) {
      const [atUs, issuer, low, high, place] = held;
      if (atUs < nowUs) this.#linker.issue(issuer, low, high, place);
      else later.push(held);
    }
    session.held = later;
  }

  #hold(held: Held[], issuer: Issuer, row: ExchangeRow, response: Message, chunks: readonly number[]): void {
    let offsetUs = row.firstByteOffsetUs ?? row.lastByteOffsetUs ?? 0;
    const hold = (low: number, high: number, place: number): void => {
      if (held.length < HELD) held.push([row.arrivalUs + offsetUs, issuer, low, high, place]);
      else this.#onMissed('many_values', 1);
    };
    this.#linker.answerHead(unmaskedHead(response), hold);
    const type = headerValue(headerPairsOf(response.head), 'content-type');
    const body = readableBody(response) ?? NOTHING;
    if (!isEventStream(type) && !isJsonLines(type)) {
      offsetUs = row.lastByteOffsetUs ?? offsetUs;
      this.#linker.answerDocument(body, hold);
      return;
    }
    const events = this.#linker.answerStream(isEventStream(type) ? 'events' : 'lines', hold);
    for (const [pieceUs, piece] of timedPieces(body, row.responseBytes ?? body.length, chunks)) {
      offsetUs = pieceUs;
      events.write(piece);
    }
    offsetUs = row.lastByteOffsetUs ?? offsetUs;
    events.end();
  }
}

/** A body in pieces with their times. Chunks were counted with their framing, so a few bytes may be a chunk early. */
function* timedPieces(
  body: Buffer,
  wholeBytes: number,
  chunks: readonly number[],
): Generator<[number, Buffer]> {
  let wireBytes = 0;
  for (let at = 1; at < chunks.length; at += 2) wireBytes += chunks[at] ?? 0;
  let passed = 0;
  let from = 0;
  for (let at = 0; at + 1 < chunks.length && from < body.length; at += 2) {
    passed += chunks[at + 1] ?? 0;
    const end = Math.ceil((passed / wireBytes) * wholeBytes);
    yield [chunks[at] ?? 0, body.subarray(from, end)];
    from = end;
  }
  if (from < body.length) yield [chunks.at(-2) ?? 0, body.subarray(from)];
}

/** A head without its masked headers, and without its query if a value there is masked; in latin1. */
function unmaskedHead({ head, redacted }: Message): string {
  const text = latin1(head);
  if (redacted.length === 0) return text;
  const isMasked = new Set(redacted);
  const [line = '', ...headers] = text.split('\n');
  const start = redacted.some((name) => name.startsWith('?')) ? line.replace(/\?\S*/, '') : line;
  const unmasked = headers.filter(
    (header) => !isMasked.has(header.slice(0, header.indexOf(':')).toLowerCase()),
  );
  return [start, ...unmasked].join('\n');
}

/** A body without content coding; empty if it was not kept, null if it cannot be read or something in it is masked. */
function readableBody({ head, body, redacted }: Message): Buffer | null {
  if (body.kept === null) return NOTHING;
  if (redacted.some((name) => /^[/!]/.test(name))) return null;
  return decodedOrNull(body.kept, headerValue(headerPairsOf(head), 'content-encoding'));
}

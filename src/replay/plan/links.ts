import { setImmediate } from 'node:timers/promises';
import { LINK_LIMITS, type LinkLimit } from '../../core/accounting.ts';
import { type ExchangePayload, type ExchangeRow, formatPlace, type Place } from '../../core/exchange.ts';
import { LIMITS } from '../../core/limits.ts';
import type { CaptureSource, TimeRange } from '../../core/ports.ts';
import { LinkReader } from '../../inference/links/link-reader.ts';
import type { LivePart, TakenValue } from '../engine/messages.ts';
import type { ReplayOptions } from '../options/replay-options.ts';
import type { BuiltRequest } from '../request/build.ts';
import type { CaptureOverview } from '../window/capture.ts';
import { Playback } from '../window/playback.ts';
import type { ReplayWindow } from '../window/window.ts';
import { identityOf, type Scaling } from './scaling.ts';
import type { PlannedSend } from './schedule.ts';
import { SessionMemory, sessionName } from './sessions.ts';
import { shifted } from './superpose.ts';

/** An exchange whose answer has values that later requests of its session need. */
interface Issuer {
  readonly places: Place[];
  /** How many requests need some. */
  users: number;
  /** The sends of this exchange, by the number of the identity. */
  readonly sent: Map<number, Sent>;
}

interface Sent {
  readonly index: number;
  /** When the head of its answer and its end will come, if the target is as fast as the recorded one. */
  readonly headNs: number;
  readonly endNs: number;
  usersLeft: number;
}

interface Link {
  readonly from: Issuer;
  readonly at: number;
  readonly to: Place;
}

/** Rows that are read between two turns of the event loop. */
const ROWS_A_TURN = 512;
const NO_LINKS: readonly Link[] = [];
const NO_BYTES = { request: null, response: null, requestChunks: [], responseChunks: [] };

/** The links between exchanges of a plan, without any value. They are found before anything is sent. */
export class LinkTable {
  readonly #issuers = new Map<string, Issuer>();
  readonly #links = new Map<string, Link[]>();
  readonly #places = new Map<string, Place>();
  #count = 0;
  /** Links from exchanges that are not known: they came before the capture, or were lost. */
  unknown = 0;
  /** What was not searched or not held, by limit. */
  readonly missed: Partial<Record<LinkLimit, number>> = {};

  /**
   * Filters are not applied, because only the whole of a session shows its links.
   * @param ranges the parts that are planned
   */
  static async read(source: CaptureSource, ranges: readonly TimeRange[]): Promise<LinkTable> {
    const whole = source instanceof Playback ? source.capture : source;
    const table = new LinkTable();
    const reader = new LinkReader((limit, count) => table.#miss(limit, count));
    let rows = 0;
    for (const range of merged(ranges)) {
      for (const row of whole.rows(range)) {
        if (row.session === null) continue;
        if (++rows % ROWS_A_TURN === 0) await setImmediate();
        table.#add(row, reader.of(row, linkPartOf(whole, row)));
      }
    }
    return table;
  }

  get isEmpty(): boolean {
    return this.#links.size === 0;
  }

  issuer(row: ExchangeRow): Issuer | null {
    return this.#issuers.get(keyOf(row)) ?? null;
  }

  links(row: ExchangeRow): readonly Link[] {
    return this.#links.get(keyOf(row)) ?? NO_LINKS;
  }

  #add(row: ExchangeRow, found: ReturnType<LinkReader['of']>): void {
    const links: Link[] = [];
    for (const { from, place, to } of found) {
      if (from === null) this.unknown += 1;
      else if (this.#count >= LIMITS.liveLinks) this.#miss('many_links', 1);
      else {
        const issuer = this.#issuerOf(keyOf(from));
        const place_ = this.#same(place);
        const at = issuer.places.includes(place_)
          ? issuer.places.indexOf(place_)
          : issuer.places.push(place_) - 1;
        links.push({ from: issuer, at, to: this.#same(to) });
        this.#count += 1;
      }
    }
    if (links.length === 0) return;
    for (const issuer of new Set(links.map(({ from }) => from))) issuer.users += 1;
    this.#links.set(keyOf(row), links);
  }

  #issuerOf(key: string): Issuer {
    const issuer = this.#issuers.get(key) ?? { places: [], users: 0, sent: new Map<number, Sent>() };
    this.#issuers.set(key, issuer);
    return issuer;
  }

  /** One object for equal places, of which there are few. */
  #same(place: Place): Place {
    const key = formatPlace(place);
    const known = this.#places.get(key) ?? place;
    this.#places.set(key, known);
    return known;
  }

  #miss(limit: LinkLimit, count: number): void {
    this.missed[limit] = (this.missed[limit] ?? 0) + count;
  }
}

/** What of a capture is planned. */
interface LinkedParts {
  readonly window: Pick<ReplayWindow, 'parts'>;
  readonly scaling: Pick<Scaling, 'layers'>;
  readonly warmup?: { readonly range: TimeRange } | null | undefined;
}

/** The links of all that a plan sends. Nothing is read if the capture has no sessions, or nothing live is sent. */
export async function linksOfPlan(
  source: CaptureSource,
  {
    window,
    scaling,
    warmup,
    overview,
    options,
  }: LinkedParts & {
    readonly overview: Pick<CaptureOverview, 'sessionKeys' | 'arrivalsOnly'>;
    readonly options: Pick<ReplayOptions, 'liveValues' | 'addedHeaders' | 'removedHeaders'>;
  },
): Promise<PlannedLinks | null> {
  const { liveValues, addedHeaders, removedHeaders } = options;
  if (liveValues === null || overview.sessionKeys.length === 0 || overview.arrivalsOnly) return null;
  const parts = [...window.parts, ...(warmup == null ? [] : [warmup.range])];
  const ranges = scaling.layers.flatMap(({ shiftUs }) => parts.map((part) => shifted(part, shiftUs)));
  const fixed = [...addedHeaders.map(([name]) => name.toLowerCase()), ...removedHeaders];
  return new PlannedLinks(await LinkTable.read(source, ranges), liveValues.affinity, fixed);
}

/** The first exchanges of a window that are searched for links in order to choose a scaling. */
const SAMPLED_ROWS = 20_000;
const SAMPLED_PAYLOADS = 1_000;

/** Whether the beginning of a window has links. */
export function hasLinks(source: CaptureSource, ranges: readonly TimeRange[]): boolean {
  const reader = new LinkReader(() => undefined);
  let [rows, payloads] = [0, 0];
  for (const range of ranges) {
    for (const row of source.rows(range)) {
      if (row.session === null) continue;
      if ((row.links ?? 0) > 0) return true;
      if (++rows > SAMPLED_ROWS) return false;
      if (row.number != null || ++payloads > SAMPLED_PAYLOADS) continue;
      if (reader.of(row, source.payload(row)).length > 0) return true;
    }
  }
  return false;
}

/** What the links of an exchange are found in. Nothing is read for one that was recorded without any. */
function linkPartOf(source: CaptureSource, row: ExchangeRow): ExchangePayload | null {
  if (row.number == null || (row.links ?? 0) > 0) return source.payload(row);
  return { ...NO_BYTES, linked: { number: row.number, links: [] } };
}

function keyOf({ segment, id }: Pick<ExchangeRow, 'segment' | 'id'>): string {
  return `${id} ${segment}`;
}

/** Ranges in order, without overlaps. */
function merged(ranges: readonly TimeRange[]): TimeRange[] {
  const apart: { fromUs: number; toUs: number }[] = [];
  for (const { fromUs, toUs } of [...ranges].sort((a, b) => a.fromUs - b.fromUs)) {
    const last = apart.at(-1);
    if (last !== undefined && fromUs <= last.toUs) last.toUs = Math.max(last.toUs, toUs);
    else apart.push({ fromUs, toUs });
  }
  return apart;
}

/** The counts of planned requests with links. */
export interface LinkCounts {
  /** Planned requests that need live values. */
  readonly linked: number;
  /** Those that will wait, if the target is as fast as the recorded one. */
  readonly willWait: number;
  /** Values that are sent as recorded, because the exchange that issued them is not sent. */
  readonly unissued: number;
  /** What was not searched or not held, by limit. */
  readonly missed: LinkTable['missed'];
}

/** The header by which llm-d's router and others know the session. */
const SESSION_TOKEN = 'x-session-token';

/** The headers of answers that sessions send back. */
export function affinityHeaders(asked: readonly string[]): string[] {
  return [...new Set([SESSION_TOKEN, ...asked])];
}

/** Where planned requests get their live values from. Call it in the order of the schedule. */
export class PlannedLinks {
  readonly #table: LinkTable;
  /** Headers that sessions send back: those that they sent when they were recorded, and those that were asked for. */
  readonly #echoed: readonly string[];
  readonly #asked: ReadonlySet<string>;
  /** Headers that are set or removed for all requests, in lower case. */
  readonly #fixed: ReadonlySet<string>;
  readonly #sessions = new SessionMemory<{ readonly number: number } & Pick<ExchangeRow, 'segment' | 'id'>>();
  #lastSession = 0;
  readonly #counts = { linked: 0, willWait: 0, unissued: 0 };

  /** @param asked headers in lower case that sessions send back, even if they did not when they were recorded */
  constructor(table: LinkTable, asked: readonly string[], fixed: readonly string[]) {
    this.#table = table;
    this.#asked = new Set(asked);
    this.#echoed = ['cookie', ...affinityHeaders(asked)];
    this.#fixed = new Set(fixed);
  }

  /** Whether any request needs a value of an answer. */
  get waits(): boolean {
    return !this.#table.isEmpty;
  }

  counts(): LinkCounts {
    const { unknown, missed } = this.#table;
    return {
      ...this.#counts,
      unissued: this.#counts.unissued + unknown,
      missed: Object.fromEntries(LINK_LIMITS.flatMap((each) => (missed[each] ? [[each, missed[each]]] : []))),
    };
  }

  /** The places of a request that get live values. */
  livePlaces(send: PlannedSend): readonly Place[] {
    const identity = identityOf(send.layer, send.copy);
    return this.#table.links(send.row).flatMap(({ from, to }) => (from.sent.has(identity) ? [to] : []));
  }

  /** Notes that a request is sent, and counts it. @returns the links whose values it gets */
  follow(send: PlannedSend, index: number, intendedOffsetNs: number): TakenValue[] {
    const { row, layer, copy } = send;
    const identity = identityOf(layer, copy);
    const links = this.#table.links(row);
    const takes: TakenValue[] = [];
    let leavesNs = intendedOffsetNs;
    for (const { from, at, to } of links) {
      const sent = from.sent.get(identity);
      if (sent === undefined) {
        this.#counts.unissued += 1;
        continue;
      }
      if (isFixed(to, this.#fixed)) continue;
      takes.push({ from: sent.index, at, to });
      leavesNs = Math.max(leavesNs, from.places[at]?.in === 'json' ? sent.endNs : sent.headNs);
    }
    for (const from of new Set(links.map((link) => link.from))) {
      const sent = from.sent.get(identity);
      if (sent !== undefined && --sent.usersLeft <= 0) from.sent.delete(identity);
    }
    if (takes.length > 0) this.#counts.linked += 1;
    if (leavesNs > intendedOffsetNs) this.#counts.willWait += 1;
    const issuer = this.#table.issuer(row);
    const endNs = leavesNs + (row.lastByteOffsetUs ?? 0) * 1e3;
    const headNs = row.firstByteOffsetUs === null ? endNs : leavesNs + row.firstByteOffsetUs * 1e3;
    issuer?.sent.set(identity, { index, headNs, endNs, usersLeft: issuer.users });
    return takes;
  }

  /** @param recorded the target of the recorded request, without the changes of paths */
  liveOf(
    send: PlannedSend,
    takes: readonly TakenValue[],
    request: BuiltRequest,
    {
      target,
      headers,
    }: { readonly target: string; readonly headers: readonly (readonly [string, string])[] },
  ): LivePart | null {
    const name = sessionName(send.row);
    if (name === null) return null;
    const issuer = this.#table.issuer(send.row);
    const moved = segmentsOf(request.path) - segmentsOf(target);
    const names = new Set(headers.map(([header]) => header.toLowerCase()));
    return {
      session: this.#sessionNumber(send, name),
      issues: issuer?.places ?? [],
      users: issuer?.users ?? 0,
      takes: takes.map((take) =>
        take.to.in === 'path' && moved !== 0
          ? { ...take, to: { in: 'path', segment: take.to.segment + moved } }
          : take,
      ),
      echoes: this.#echoed.filter(
        (header) => (names.has(header) || this.#asked.has(header)) && !this.#fixed.has(header),
      ),
    };
  }

  #sessionNumber({ row, layer, copy }: PlannedSend, name: string): number {
    const begin = () => ({ number: ++this.#lastSession, segment: row.segment, id: row.id });
    const begins = (first: Pick<ExchangeRow, 'segment' | 'id'>) =>
      first.id === row.id && first.segment === row.segment;
    return this.#sessions.of(`${identityOf(layer, copy)} ${name}`, row.arrivalUs, begin, begins).number;
  }
}

function isFixed(to: Place, fixed: ReadonlySet<string>): boolean {
  if (to.in === 'header') return fixed.has(to.name);
  return to.in === 'cookie' && fixed.has('cookie');
}

function segmentsOf(target: string): number {
  const question = target.indexOf('?');
  return (question < 0 ? target : target.slice(0, question)).split('/').length;
}

import type { LinkLimit } from '../../core/accounting.ts';
import { UnreadableBody } from '../../core/errors.ts';
import { formatPlace, type Link, type Linked, type Place } from '../../core/exchange.ts';
import { isJsonArray, isJsonObject, jsonStart } from '../../core/json-cursor.ts';
import { LIMITS } from '../../core/limits.ts';
import { boundaryOf, partsOf } from '../../core/multipart.ts';
import { decodePercent } from '../../core/text.ts';
import { EventData, type StreamForm } from '../stream-events.ts';
import { HeadText, readAnswerHead, readRequestHead } from './head-values.ts';
import { JUDGED_BYTES, JudgedPlaces, Places } from './places.ts';
import { type Charge, SessionValues, SHARED_BYTES, SharedValues } from './session-values.ts';
import { isFieldName, isNoId, JsonValues, joined, looksRandom, PARTS, ValueHash } from './values.ts';

/** Members of an answer below which everything was made by a model, or is about the answer. */
const GENERATED = new Set(
  'input args arguments parameters usage logprobs top_logprobs error parsed embedding'.split(' '),
);
/** Members whose strings are for people or models, in requests and answers. */
const PROSE = new Set(
  'content text delta value title name message refusal thinking reasoning reasoning_content output_text partial_json summary transcript model object role type status system_fingerprint obfuscation'.split(
    ' ',
  ),
);
/** Field names and files of longer forms are not read. */
const FORM_VALUE_BYTES = 4_096;
/** So much is read of a form in one line, and of other text. */
const TEXT_BYTES = 65_536;
/** Of bodies that are neither JSON nor forms, those with text. */
const TEXT_TYPES = /^text\/|\b(?:json|xml|yaml|csv|graphql)\b/i;
/** Coded text is at least so long. */
const CODED_CHARS = 12;
/** Bits of a number that stands for a place, in front of which is the spelling of a value. */
const PLACE_BITS = 15;
/** What is noted of a session of which a request could not be read. */
const UNREAD = 1;
/** The most values that are noted of a stream, and of one place in it. */
const STREAM_VALUES = 1_024;
const VALUES_AT_PLACE = 64;

/** A request of a session, as received. */
export interface LinkedRequest {
  /** Key of the session, 8 bytes. */
  readonly session: Uint8Array;
  readonly route: string;
  /** In latin1. */
  readonly head: string;
  /** Without a content coding; null if that cannot be removed. */
  readonly body: Buffer | null;
  readonly contentType: string | null;
}

/** An exchange whose answer may issue values. */
export interface Issuer {
  readonly number: number;
  readonly session: Uint8Array;
}

/** A limit was reached so many times. */
export type OnMissed = (limit: LinkLimit, count: number) => void;

/** Takes a value of an answer: its hash, and a number for its place and its spelling. */
export type OnIssued = (low: number, high: number, place: number) => void;

/**
 * Finds links, exchange by exchange: call `request` for each request when it is complete, and `issue` for each value of
 * an answer when it came, all in the order of time. A value that a request of the session had before is the client's.
 *
 * Some values are known to both sides without being handed over. Therefore the value must be rare in other sessions,
 * and most values of its place in requests must come from answers. One that does not look random counts only where
 * several sessions have shown that the place has ids.
 */
export class Linker {
  readonly #hash: ValueHash;
  readonly #json: JsonValues;
  readonly #values: SessionValues;
  readonly #shared = new SharedValues();
  readonly #places: Places;
  readonly #judged = new JudgedPlaces();
  #number: number;
  /** To be called also where not all of a message is handed over. */
  readonly onMissed: OnMissed;
  /** Of the request being read. */
  #links: Link[] = [];
  #low = 0;
  #high = 0;
  #isFirst = false;
  #route = '';
  #routeHash = 0;
  /** Whether a request of any session could not be read. */
  #hasUnread = false;

  /**
   * @param salts two random numbers of 32 bits
   * @param number of the exchange before the first one. Random, so that two recorders of a session have different ones
   * @param charge for its tables
   */
  constructor(
    salts: readonly [number, number],
    onMissed: OnMissed,
    number = 0,
    charge: Charge = { reserve: () => true },
  ) {
    this.#number = number;
    this.onMissed = onMissed;
    if (!charge.reserve(SHARED_BYTES + JUDGED_BYTES)) onMissed('budget', 1);
    this.#values = new SessionValues(charge, (count) => onMissed('forgotten', count));
    this.#places = new Places(charge, () => onMissed('many_places', 1));
    this.#hash = new ValueHash(salts);
    this.#json = new JsonValues(this.#hash);
  }

  /** Numbers the exchange and finds its links. */
  request({ session, route, head, body, contentType }: LinkedRequest): Linked {
    this.#number += 1;
    this.#links = [];
    this.#low = wordOf(session, 0);
    this.#high = wordOf(session, 4);
    if (!this.#values.hasRoom) {
      this.onMissed('budget', 1);
      return { number: this.#number, links: [] };
    }
    this.#isFirst = this.#values.find(this.#low, this.#high) < 0;
    if (this.#isFirst) this.#values.put(this.#low, this.#high, 0, 0);
    if (route !== this.#route) {
      this.#route = route;
      this.#routeHash = hashOf(route);
    }
    readRequestHead(
      new HeadText(head),
      (place, bytes, from, end) => this.#headValue(place, bytes, from, end),
      (bytes, from, end) => this.#ownLine(bytes, from, end),
    );
    if (body === null) this.#unread();
    else this.#requestBody(body, contentType ?? '');
    const links = this.#links;
    this.#links = [];
    return { number: this.#number, links };
  }

  #requestBody(body: Buffer, contentType: string): void {
    if (/^multipart\//i.test(contentType)) this.#form(body, contentType);
    else if (/^application\/x-www-form-urlencoded/i.test(contentType)) this.#ownPairs(body);
    else if (startsJson(body)) this.#jsonBody(this.#beginning(body, LIMITS.linkedRequestBytes));
    else if (TEXT_TYPES.test(contentType)) this.#ownWords(body, 0, Math.min(body.length, TEXT_BYTES));
  }

  /** What answers bring from here on may be known to the client. */
  #unread(): void {
    this.#hasUnread = true;
    this.onMissed('unread', 1);
    this.#values.put(this.#low, this.#high, 0, UNREAD);
  }

  #isUnread(first: number, second: number): boolean {
    const slot = this.#values.find(first, second);
    return slot >= 0 && this.#values.placeAt(slot) === UNREAD;
  }

  /** Notes that an answer has a value, whose hash and place are those that `OnIssued` was given. */
  issue({ number, session }: Issuer, low: number, high: number, place: number): void {
    const first = wordOf(session, 0);
    const second = wordOf(session, 4);
    if (!this.#values.hasRoom || this.#values.find(low ^ first, high ^ second) >= 0) return;
    const isClients = this.#hasUnread && this.#isUnread(first, second) && !isOfSession(this.#placeOf(place));
    this.#values.put(low ^ first, high ^ second, isClients ? 0 : number, place << 1);
    this.#shared.note(low, high, first);
  }

  #placeOf(place: number): Place | null {
    return this.#places.at(place & (2 ** PLACE_BITS - 1));
  }

  /** The values of an answer's head, in latin1. */
  answerHead(head: string, onIssued: OnIssued): void {
    const hash = this.#hash;
    readAnswerHead(new HeadText(head), (place, bytes, from, end) => {
      if (hash.read(bytes, from, end) !== end || !hash.take(bytes, from, end)) return;
      const found = place();
      if (!hasFieldName(found) || isOfAsker(found)) return;
      const number = this.#places.numberOf(formatPlace(found), () => found);
      if (number > 0) onIssued(hash.low, hash.high, (hash.spelling << PLACE_BITS) | number);
    });
  }

  /** The values of an answer in JSON, complete or cut. */
  answerDocument(body: Buffer, onIssued: OnIssued): void {
    if (!startsJson(body)) return;
    const onValue = (): void => {
      const { low, high, spelling } = this.#hash;
      const place = this.#places.numberOf(this.#json.placeHash(true), () => this.#answerPlace());
      if (place > 0) onIssued(low, high, (spelling << PLACE_BITS) | place);
    };
    this.#json.read(this.#beginning(body, LIMITS.linkedAnswerBytes), onValue, null);
  }

  /** A reader of a streamed answer, which calls `onIssued` as soon as an event has come. */
  answerStream(form: StreamForm, onIssued: OnIssued): Pick<EventData, 'write' | 'end'> {
    const met = new Map<string, Map<number, number[]>>();
    let room = STREAM_VALUES;
    const events = new EventData(form, (data, event) => {
      const onValue = (): void => {
        const { low, high, spelling } = this.#hash;
        const value = joined(low, high);
        const key = this.#json.placeHash(true);
        const ofEvent = met.get(event) ?? new Map<number, number[]>();
        const values = ofEvent.get(key) ?? [];
        if (values.includes(value)) return;
        if (room === 0 || values.length === VALUES_AT_PLACE) {
          this.onMissed('many_values', 1);
          return;
        }
        const nth = values.length;
        const place = this.#places.numberOf(`${event} ${key} ${nth}`, () => this.#eventPlace(event, nth));
        if (place === 0) return;
        room -= 1;
        values.push(value);
        ofEvent.set(key, values);
        met.set(event, ofEvent);
        onIssued(low, high, (spelling << PLACE_BITS) | place);
      };
      if (data.startsWith('{')) this.#json.read(Buffer.from(data), onValue, null);
    });
    return {
      write: (bytes) => events.write(bytes),
      end: () => {
        events.end();
        if (events.passedOver > 0) this.onMissed('long_body', events.passedOver);
      },
    };
  }

  /** What is searched of a body. */
  #beginning(body: Buffer, most: number): Buffer {
    if (body.length <= most) return body;
    this.onMissed('long_body', 1);
    return body.subarray(0, most);
  }

  #answerPlace(): Place | null {
    const json = this.#json;
    if (PROSE.has(json.key) || json.isBelow(GENERATED)) return null;
    const place = this.#jsonPlace();
    return place === null || isOfAsker(place) ? null : place;
  }

  #jsonPlace(): Place | null {
    const pointer = this.#json.pointer();
    return pointer === null ? null : { in: 'json', pointer };
  }

  #eventPlace(event: string, nth: number): Place | null {
    const place = event === '' || isFieldName(event) ? this.#answerPlace() : null;
    return place?.in === 'json' ? { in: 'event', event, pointer: place.pointer, nth } : null;
  }

  #jsonBody(body: Buffer): void {
    const json = this.#json;
    json.read(
      body,
      (bytes, from, end) => {
        const slot = this.#find();
        if (this.#isOwn(slot)) return;
        if (PROSE.has(json.key)) this.#noteOwn(slot, bytes, from, end);
        else
          this.#judge(
            slot,
            () => json.placeHash(false, this.#routeHash),
            () => this.#jsonPlace(),
            bytes,
            from,
            end,
          );
      },
      (bytes, from, end) => this.#noteOwn(this.#find(), bytes, from, end),
    );
  }

  #form(body: Buffer, contentType: string): void {
    try {
      for (const part of partsOf(body, boundaryOf(contentType))) {
        this.#ownWords(body, part.headFrom, part.from);
        if (part.to - part.from > FORM_VALUE_BYTES) continue;
        const name = /;[ \t]*name="([^"\\]*)"/i.exec(body.toString('latin1', part.headFrom, part.from))?.[1];
        if (name !== undefined) this.#headValue(() => ({ in: 'form', name }), body, part.from, part.to);
      }
    } catch (error) {
      // A form that servers may read in different ways has no places.
      if (!(error instanceof UnreadableBody)) throw error;
      this.#ownWords(body, 0, Math.min(body.length, TEXT_BYTES));
    }
  }

  /** A value of the request's head or form. A part of it that may be a value by itself is the client's. */
  #headValue(place: () => Place, bytes: Buffer, from: number, end: number): void {
    const hash = this.#hash;
    if (hash.read(bytes, from, end) !== end) {
      this.#ownWords(bytes, from, end);
      return;
    }
    if (!hash.take(bytes, from, end)) return;
    const slot = this.#find();
    if (this.#isOwn(slot)) return;
    const found = place();
    if (!hasFieldName(found)) {
      this.#noteOwn(slot, bytes, from, end);
      return;
    }
    const key = (): string => `${isNamed(found) ? '' : this.#route} ${formatPlace(found)}`;
    this.#judge(slot, key, () => found, bytes, from, end);
  }

  /** A line of the client. It is read again only if its words may have been forgotten. */
  #ownLine(bytes: Buffer, from: number, end: number): void {
    const hash = this.#hash;
    hash.takeLine(bytes, from, end);
    const low = hash.low ^ this.#low;
    const high = hash.high ^ this.#high;
    if (this.#values.isRecent(low, high)) return;
    this.#values.put(low, high, 0, 0);
    this.#ownWords(bytes, from, end);
  }

  /** Text of the client: what may be a value in it. */
  #ownWords(bytes: Buffer, from: number, end: number, mayBeCoded = true): void {
    const hash = this.#hash;
    for (let at = from; at < end; ) {
      const stop = hash.read(bytes, at, end);
      if (hash.take(bytes, at, stop)) this.#noteOwn(this.#find(), bytes, at, stop, mayBeCoded);
      at = stop + 1;
    }
  }

  /** A form in one line, whose values are not linked. */
  #ownPairs(body: Buffer): void {
    for (const pair of body.toString('latin1', 0, TEXT_BYTES).split('&')) {
      const value = Buffer.from(decodePercent(pair.slice(pair.indexOf('=') + 1)), 'latin1');
      this.#ownWords(value, 0, value.length);
    }
  }

  /** The slot of the value that was just read, in this session. */
  #find(): number {
    return this.#values.find(this.#hash.low ^ this.#low, this.#hash.high ^ this.#high);
  }

  /** Whether a request had the value of this slot first. */
  #isOwn(slot: number): boolean {
    return slot >= 0 && this.#values.numberAt(slot) === 0;
  }

  /** Notes a value of the client, its parts, and those of what it stands for in a coding: an answer may bring each of them. */
  #noteOwn(slot: number, bytes: Buffer, from: number, end: number, mayBeCoded = true): void {
    if (slot >= 0) return;
    const hash = this.#hash;
    this.#shared.note(hash.low, hash.high, this.#low);
    this.#putOwn();
    for (const stops of PARTS) {
      for (let at = from; at < end; ) {
        const stop = hash.read(bytes, at, end, stops);
        if (stop - at < end - from && hash.take(bytes, at, stop) && this.#find() < 0) this.#putOwn();
        at = stop + 1;
      }
    }
    if (!mayBeCoded || end - from < CODED_CHARS) return;
    const text = bytes.toString('latin1', from, end);
    const coded = text.split('.').filter((part) => part.length >= CODED_CHARS);
    for (const plain of coded.map((part) => Buffer.from(part, 'base64')))
      if (plain.every(isPrintable)) this.#ownWords(plain, 0, plain.length, false);
    if (!text.includes('%')) return;
    const plain = Buffer.from(decodePercent(text), 'latin1');
    this.#ownWords(plain, 0, plain.length, false);
  }

  #putOwn(): void {
    this.#values.put(this.#hash.low ^ this.#low, this.#hash.high ^ this.#high, 0, 0);
  }

  /** A value of the request that is not known as the client's: a link if an answer had it first. */
  #judge(
    slot: number,
    key: () => string | number,
    to: () => Place | null,
    bytes: Buffer,
    from: number,
    end: number,
  ): void {
    if (slot < 0) {
      // What a session brings at first may come from before the recording, so it says nothing of the place.
      if (!this.#isFirst) this.#judged.of(key()).bringsOther();
      this.#noteOwn(slot, bytes, from, end);
      return;
    }
    const number = this.#values.numberAt(slot);
    const noted = this.#values.placeAt(slot);
    const place = this.#placeOf(noted >>> 1);
    const text = bytes.toString('latin1', from, end);
    if (place === null || isNoId(text) || this.#hash.spelling !== noted >>> (PLACE_BITS + 1)) return;
    const target = to();
    if (target === null) return;
    const returns = isNamed(place) && isNamed(target) && place.in === target.in && place.name === target.name;
    const isRare =
      (returns && isOfSession(target)) || this.#shared.count(this.#hash.low, this.#hash.high) <= 1;
    const judged = this.#judged.of(key());
    if ((noted & 1) === 0) {
      if (isRare) judged.bringsIssued(this.#low);
      else judged.bringsOther();
      this.#values.setPlace(slot, noted | 1);
    }
    if (!isRare || !judged.takesIssued) return;
    if (judged.isProven || (isForIds(target) && (returns || looksRandom(text))))
      this.#add({ from: number, place, to: target });
  }

  #add(link: Link): void {
    if (this.#links.length < LIMITS.linksPerExchange) this.#links.push(link);
    else this.onMissed('many_links', 1);
  }
}

/** Whether a client returns values of this place under the name that the server gave them. */
function isNamed(place: Place): place is Place & { readonly in: 'header' | 'cookie'; readonly name: string } {
  return place.in === 'header' || place.in === 'cookie';
}

/** Whether the name of a place is no value itself. Pointers are made of such names only. */
function hasFieldName(place: Place): boolean {
  return !('name' in place) || isFieldName(place.name);
}

/** Names of members, fields and headers that have ids: `tool_call_id`, `x-session-token`, `encrypted_content`, `fileIds`. */
const OF_IDS =
  /(?:^|[-_/])(?:ids?|uuid|guid|token|session|cursor|handle|key|signature|state|after|before|page|continuation|affinity|encrypted_content)$/i;
const OF_IDS_IN_CAMEL_CASE = /[a-z](?:Ids?|ID|Token|Session|Cursor|Handle|Key|Signature)$/;

/** Names of cookies' like: what a router gives to a client, and perhaps to many, so that its requests go to one server. */
const OF_SESSIONS = /session|token|affinity|sticky|route|endpoint/i;

/** Whether what a server gives there belongs to the session, though other sessions may have the same. */
function isOfSession(place: Place | null): boolean {
  return place?.in === 'cookie' || (place?.in === 'header' && OF_SESSIONS.test(place.name));
}

/** Names of values that a server states and does not issue: whose the request is, what serves it, what it computes of it. */
const OF_ASKER =
  /(?:^|[-_/.])(?:x[-_])?(?:tenant|org|organi[sz]ation|account|customer|user|client|owner|company|team|workspace|subject|sub|group|region|zone|cluster|build|version|revision|release|commit|deployment|digest|hash|checksum|sha\d+|md5|etag|fingerprint|locale)(?:[-_]?(?:id|uuid|key|name|number))?$/i;
const CAMEL = /([a-z\d])([A-Z])/g;

function isOfAsker(place: Place): boolean {
  return place.in !== 'cookie' && OF_ASKER.test(nameIn(place).replace(CAMEL, '$1_$2'));
}

/** The last name of a place, with those above it in JSON; empty for a segment of a path. */
function nameIn(place: Place): string {
  if (place.in === 'path') return '';
  const named = place.in === 'json' || place.in === 'event' ? place.pointer : place.name;
  return named.replace(/(?:\/\d+)+$/, '');
}

/** Whether a place is meant for ids: by its name, or because it is a segment of a path. */
function isForIds(place: Place): boolean {
  if (place.in === 'path' || place.in === 'cookie') return true;
  const name = nameIn(place);
  return OF_IDS.test(name) || OF_IDS_IN_CAMEL_CASE.test(name);
}

/** Four bytes of a key as a number. A view to read it by would take longer than all the rest of `issue`. */
function wordOf(key: Uint8Array, at: number): number {
  return key[at]! | (key[at + 1]! << 8) | (key[at + 2]! << 16) | (key[at + 3]! << 24);
}

function isPrintable(byte: number): boolean {
  return byte >= 0x20 && byte < 0x7f;
}

/** Any number for a text, the same for the same one. */
function hashOf(text: string): number {
  let hash = 0;
  for (let at = 0; at < text.length; at += 1) hash = Math.imul(hash, 31) ^ text.charCodeAt(at);
  return hash;
}

function startsJson(body: Buffer): boolean {
  const at = jsonStart(body);
  return isJsonObject(body, at) || isJsonArray(body, at);
}

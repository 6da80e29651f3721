import type { LinkLimit } from '../../core/accounting.ts';
import { UnreadableBody } from '../../core/errors.ts';
import { formatPlace, type Link, type Linked, type Place } from '../../core/exchange.ts';
import { isJsonArray, isJsonObject, jsonStart } from '../../core/json-cursor.ts';
import { LIMITS } from '../../core/limits.ts';
import { boundaryOf, partsOf } from '../../core/multipart.ts';
import { decodePercent } from '../../core/text.ts';
import { EventData, type StreamForm } from '../stream-events.ts';
import { readAnswerHead, readRequestHead } from './head-values.ts';
import { JudgedPlaces, Places } from './places.ts';
import { SessionValues, SharedValues } from './session-values.ts';
import { isFieldName, isNoId, JsonValues, joined, looksRandom, ValueHash } from './values.ts';

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
/** So much is read of a form in one line. */
const FORM_BYTES = 65_536;
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
  /** Without a content coding; empty if it cannot be read. */
  readonly body: Buffer;
  readonly contentType: string | null;
}

/** An exchange whose answer may issue values. */
export interface Issuer {
  readonly number: number;
  readonly session: Uint8Array;
}

/** A limit was reached so many times. */
export type OnMissed = (limit: LinkLimit, count: number) => void;

/** Takes a value of an answer: its hash, and the number of its place. */
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

  /**
   * @param salts two random numbers of 32 bits
   * @param number of the exchange before the first one. Random, so that two recorders of a session have different ones
   */
  constructor(salts: readonly [number, number], onMissed: OnMissed, number = 0) {
    this.#number = number;
    this.onMissed = onMissed;
    this.#values = new SessionValues((count) => onMissed('forgotten', count));
    this.#places = new Places(() => onMissed('many_places', 1));
    this.#hash = new ValueHash(salts);
    this.#json = new JsonValues(this.#hash);
  }

  /** Numbers the exchange and finds its links. */
  request({ session, route, head, body, contentType }: LinkedRequest): Linked {
    this.#number += 1;
    this.#links = [];
    this.#low = wordOf(session, 0);
    this.#high = wordOf(session, 4);
    this.#isFirst = this.#values.find(this.#low, this.#high) < 0;
    if (this.#isFirst) this.#values.put(this.#low, this.#high, 0, 0);
    this.#route = route;
    readRequestHead(
      head,
      (place, text, from, end) => this.#headValue(place, text, from, end),
      (text, from, end) => this.#ownText(text, from, end),
    );
    if (/^multipart\//i.test(contentType ?? '')) this.#form(body, contentType ?? '');
    else if (/^application\/x-www-form-urlencoded/i.test(contentType ?? '')) this.#ownPairs(body);
    else if (startsJson(body)) this.#body(this.#beginning(body, LIMITS.linkedRequestBytes));
    const links = this.#links;
    this.#links = [];
    return { number: this.#number, links };
  }

  /** Notes that an answer has a value, whose hash and place are those that `OnIssued` was given. */
  issue({ number, session }: Issuer, low: number, high: number, place: number): void {
    const first = wordOf(session, 0);
    const second = wordOf(session, 4);
    if (this.#values.find(low ^ first, high ^ second) >= 0) return;
    this.#values.put(low ^ first, high ^ second, number, place << 1);
    this.#shared.note(low, high, first);
  }

  /** The values of an answer's head, in latin1. */
  answerHead(head: string, onIssued: OnIssued): void {
    const hash = this.#hash;
    readAnswerHead(head, (place, text, from, end) => {
      if (hash.read(text, from, end) !== end || !hash.mayBeIssued) return;
      const found = place();
      if (!hasFieldName(found)) return;
      const number = this.#places.numberOf(formatPlace(found), () => found);
      if (number > 0) onIssued(hash.low, hash.high, number);
    });
  }

  /** The values of an answer in JSON, complete or cut. */
  answerDocument(body: Buffer, onIssued: OnIssued): void {
    if (!startsJson(body)) return;
    this.#json.read(
      this.#beginning(body, LIMITS.linkedAnswerBytes),
      () => {
        const { low, high } = this.#hash;
        const place = this.#places.numberOf(this.#json.placeHash(true), () => this.#answerPlace());
        if (place > 0) onIssued(low, high, place);
      },
      null,
    );
  }

  /** A reader of a streamed answer, which calls `onIssued` as soon as an event has come. */
  answerStream(form: StreamForm, onIssued: OnIssued): Pick<EventData, 'write' | 'end'> {
    const met = new Map<string, Map<number, number[]>>();
    let room = STREAM_VALUES;
    const events = new EventData(form, (data, event) => {
      const onValue = (): void => {
        const { low, high } = this.#hash;
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
        onIssued(low, high, place);
      };
      if (data.startsWith('{')) this.#json.read(data, onValue, null);
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
  #beginning(body: Buffer, most: number): string {
    if (body.length > most) this.onMissed('long_body', 1);
    return body.toString('utf8', 0, most);
  }

  #answerPlace(): Place | null {
    const json = this.#json;
    return PROSE.has(json.key) || json.isBelow(GENERATED) ? null : this.#jsonPlace();
  }

  #jsonPlace(): Place | null {
    const pointer = this.#json.pointer();
    return pointer === null ? null : { in: 'json', pointer };
  }

  #eventPlace(event: string, nth: number): Place | null {
    const place = event === '' || isFieldName(event) ? this.#answerPlace() : null;
    return place?.in === 'json' ? { in: 'event', event, pointer: place.pointer, nth } : null;
  }

  #body(text: string): void {
    const json = this.#json;
    json.read(
      text,
      (from, end) => {
        const slot = this.#find();
        if (PROSE.has(json.key)) this.#noteOwn(slot);
        else
          this.#judge(
            slot,
            () => `${this.#route} ${json.placeHash(false)}`,
            () => text.slice(from, end),
            () => this.#jsonPlace(),
          );
      },
      () => this.#noteOwn(this.#find()),
    );
  }

  #form(body: Buffer, contentType: string): void {
    try {
      for (const part of partsOf(body, boundaryOf(contentType))) {
        if (part.to - part.from > FORM_VALUE_BYTES) continue;
        const head = body.toString('latin1', part.headFrom, part.from);
        const name = /;[ \t]*name="([^"\\]*)"/i.exec(head)?.[1];
        const text = body.toString('latin1', part.from, part.to);
        if (name !== undefined) this.#headValue(() => ({ in: 'form', name }), text, 0, text.length);
      }
    } catch (error) {
      // A form that servers may read in different ways has no places.
      if (!(error instanceof UnreadableBody)) throw error;
    }
  }

  /** A value of the request's head or form. A part of it that may be a value by itself is the client's. */
  #headValue(place: () => Place, text: string, from: number, end: number): void {
    const hash = this.#hash;
    let at = hash.read(text, from, end);
    if (at === end) {
      if (!hash.mayBeIssued) return;
      const found = place();
      if (!hasFieldName(found)) {
        this.#noteOwn(this.#find());
        return;
      }
      const route = isNamed(found) ? '' : this.#route;
      const key = (): string => `${route} ${formatPlace(found)}`;
      this.#judge(
        this.#find(),
        key,
        () => text.slice(from, end),
        () => found,
      );
      return;
    }
    for (;;) {
      if (hash.mayBeIssued) this.#noteOwn(this.#find());
      if (at >= end) return;
      at = hash.read(text, at + 1, end);
    }
  }

  /** Text of the client: its words, and the parts of words such as the ids in `00-TRACE-SPAN-01`. */
  #ownText(text: string, from: number, end: number): void {
    const hash = this.#hash;
    for (const separators of [/[\s,;"]+/, /[^A-Za-z0-9_]+/]) {
      for (const word of text.slice(from, end).split(separators)) {
        if (hash.read(word, 0, word.length) === word.length && hash.mayBeIssued) this.#noteOwn(this.#find());
      }
    }
  }

  /** A form in one line, whose values are not linked. */
  #ownPairs(body: Buffer): void {
    for (const pair of body.toString('latin1', 0, FORM_BYTES).split('&')) {
      const value = decodePercent(pair.slice(pair.indexOf('=') + 1));
      this.#ownText(value, 0, value.length);
    }
  }

  /** The slot of the value that was just read, in this session. */
  #find(): number {
    return this.#values.find(this.#hash.low ^ this.#low, this.#hash.high ^ this.#high);
  }

  #noteOwn(slot: number): void {
    if (slot >= 0) return;
    this.#values.put(this.#hash.low ^ this.#low, this.#hash.high ^ this.#high, 0, 0);
    this.#shared.note(this.#hash.low, this.#hash.high, this.#low);
  }

  /** A value of the request: a link if an answer had it first, the client's otherwise. */
  #judge(slot: number, key: () => string, text: () => string, to: () => Place | null): void {
    const number = slot < 0 ? 0 : this.#values.numberAt(slot);
    if (number === 0) {
      // What a session brings at first may come from before the recording, so it says nothing of the place.
      if (slot < 0 && !this.#isFirst) this.#judged.of(key()).bringsOther();
      this.#noteOwn(slot);
      return;
    }
    const noted = this.#values.placeAt(slot);
    const place = this.#places.at(noted >>> 1);
    if (place === null || isNoId(text())) return;
    const target = to();
    if (target === null) return;
    const returns = isNamed(place) && isNamed(target) && place.in === target.in && place.name === target.name;
    const isRare = returns || this.#shared.count(this.#hash.low, this.#hash.high) <= 1;
    const judged = this.#judged.of(key());
    if ((noted & 1) === 0) {
      if (isRare) judged.bringsIssued(this.#low);
      else judged.bringsOther();
      this.#values.setPlace(slot, noted | 1);
    }
    if (!isRare || !judged.takesIssued) return;
    if (returns || judged.isProven || (isForIds(target) && looksRandom(text())))
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

/** Whether a place is meant for ids: by its name, or because it is a segment of a path. */
function isForIds(place: Place): boolean {
  if (place.in === 'path' || place.in === 'cookie') return true;
  const named = place.in === 'json' || place.in === 'event' ? place.pointer : place.name;
  const name = named.replace(/(?:\/\d+)+$/, '');
  return OF_IDS.test(name) || OF_IDS_IN_CAMEL_CASE.test(name);
}

/** Four bytes of a key as a number. A view to read it by would take longer than all the rest of `issue`. */
function wordOf(key: Uint8Array, at: number): number {
  return key[at]! | (key[at + 1]! << 8) | (key[at + 2]! << 16) | (key[at + 3]! << 24);
}

function startsJson(body: Buffer): boolean {
  const at = jsonStart(body);
  return isJsonObject(body, at) || isJsonArray(body, at);
}

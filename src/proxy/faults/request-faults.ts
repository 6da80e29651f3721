import { STATUS_CODES } from 'node:http';
import type { Clock } from '../../core/clock.ts';
import { NS_PER_MS } from '../../core/units.ts';
import { isToxicOf, type Toxic } from '../../documents/faults.ts';
import type { AssemblyBudget } from '../../http1/budget.ts';
import { requestFraming } from '../../http1/framing.ts';
import { isRequestLine, type ScannedRequest, scanRequest } from '../../http1/heads.ts';
import { MessageReader } from '../../http1/message-reader.ts';
import { FirstLine } from '../tcp/connection.ts';
import type { ByteSink } from './connection-faults.ts';
import { type ActiveToxic, delayDraw, unitDraw } from './toxics.ts';

/** What the connection provides to the faults on its requests. */
interface RequestFaultsHost {
  readonly clock: Clock;
  readonly budget: AssemblyBudget;
  /** The faults on requests that act on this connection. */
  requestToxics(): readonly ActiveToxic[];
  /** Sends our own answer to the client. @param close whether the connection ends after it */
  answer(bytes: Buffer, close: boolean): void;
  /** Held bytes were passed on or dropped. */
  released(): void;
}

interface Decision {
  readonly delayMs: number;
  /** The answer instead of the upstream's; null if the request is passed on. */
  readonly error: Toxic<'http_error'> | null;
  readonly request: ScannedRequest;
}

interface Waiting {
  readonly decision: Decision;
  readonly timer: NodeJS.Timeout;
  /** Whether the whole request was read. */
  ended: boolean;
  /** Bytes that came after it; null is the end. */
  readonly queue: (Buffer | null)[];
}

/**
 * Follows the requests of a connection, so that a fault can begin at any of them. Without an active fault on requests,
 * it passes everything on at once. Once the bytes are not HTTP/1.1, it does not read them any more. A request that came
 * before the previous one was answered is not answered by us, because the answers would change places.
 */
export class RequestFaults implements ByteSink {
  readonly #host: RequestFaultsHost;
  readonly #next: ByteSink;
  readonly #reader: MessageReader;
  readonly #firstLine = new FirstLine();
  #opaque = false;
  /** Bytes of a request that waits, or that is not decided yet. */
  #held: Buffer[] = [];
  #heldBytes = 0;
  /** Whether a part of this message was already passed to the upstream. */
  #begun = false;
  #decision: Decision | null = null;
  #dropping = false;
  #waiting: Waiting | null = null;
  #closed = false;
  /** Whether the upstream owes an answer. */
  #awaiting = false;

  constructor(host: RequestFaultsHost, next: ByteSink) {
    this.#host = host;
    this.#next = next;
    this.#reader = new MessageReader({
      budget: host.budget,
      isStartLine: isRequestLine,
      onHead: (head) => {
        const request = scanRequest(head.toString('latin1'));
        const framing = request === null ? null : requestFraming(request);
        if (request === null || framing === null || request.protocol === 'h2') return null;
        // After an upgrade the bytes are no requests.
        if (request.fields.upgrade !== null || request.method === 'CONNECT') return null;
        this.#decision = this.#decide(request);
        return { framing, body: null };
      },
    });
  }

  get heldBytes(): number {
    return this.#heldBytes;
  }

  push(bytes: Buffer): void {
    if (this.#closed) return;
    if (this.#opaque) this.#next.push(bytes);
    else if (this.#waiting) {
      this.#waiting.queue.push(bytes);
      this.#heldBytes += bytes.length;
    } else this.#take(bytes);
  }

  end(): void {
    if (this.#waiting) this.#waiting.queue.push(null);
    else {
      if (!this.#closed) this.#passHeld();
      this.#next.end();
    }
  }

  answered(): void {
    this.#awaiting = false;
  }

  /** A fault is taken away: no request waits any more. */
  removed(): void {
    this.#resume();
  }

  /** Stops the timer and returns the reserved memory. */
  stop(): void {
    clearTimeout(this.#waiting?.timer);
    this.#reader.reset();
    this.#closed = true;
  }

  #take(bytes: Buffer): void {
    this.#firstLine.take(bytes);
    if (this.#firstLine.verdict === 'other') {
      this.#lookAway(bytes);
      return;
    }
    let at = 0;
    while (at < bytes.length && !this.#closed) {
      const end = this.#reader.read(bytes, at, 0);
      if (end < 0) {
        this.#lookAway(bytes.subarray(at));
        return;
      }
      const decision = this.#decision;
      this.#handle(bytes.subarray(at, end), decision);
      at = end;
      if (this.#reader.ended) this.#finish(decision);
      if (this.#waiting && at < bytes.length) {
        this.push(bytes.subarray(at));
        return;
      }
    }
  }

  #handle(part: Buffer, decision: Decision | null): void {
    if (this.#dropping) return;
    if (decision === null) {
      // An incomplete head cannot be decided yet. It waits only if a fault may apply to it.
      if (this.#begun || this.#host.requestToxics().length === 0) {
        this.#begun = true;
        this.#next.push(part);
      } else this.#hold(part);
      return;
    }
    if (decision.delayMs > 0 && this.#waiting === null && !this.#begun) {
      this.#hold(part);
      this.#wait(decision);
      return;
    }
    this.#goOn(part, decision);
  }

  /** Passes a request to the upstream or drops it, as decided. */
  #goOn(part: Buffer | null, { error, request }: Decision): void {
    if (error === null) {
      this.#passHeld();
      this.#awaiting = true;
      // The rest of this message needs no new decision.
      this.#begun = true;
      if (part !== null) this.#next.push(part);
      return;
    }
    this.#dropHeld();
    this.#dropping = true;
    // A client with `Expect` sends its body only when it is told to.
    if (request.fields.expect !== null) this.#answer(error, request, true);
  }

  #finish(decision: Decision | null): void {
    if (this.#waiting) {
      this.#waiting.ended = true;
      return;
    }
    if (this.#dropping && decision?.error && !this.#closed) {
      this.#answer(decision.error, decision.request, false);
    }
    this.#decision = null;
    this.#dropping = false;
    this.#begun = false;
  }

  #wait(decision: Decision): void {
    const timer = setTimeout(() => this.#resume(), Math.round(decision.delayMs));
    this.#waiting = { decision, timer, ended: false, queue: [] };
  }

  #resume(): void {
    if (this.#waiting === null) return;
    const { decision, timer, ended, queue } = this.#waiting;
    clearTimeout(timer);
    this.#waiting = null;
    this.#goOn(null, decision);
    if (ended) this.#finish(decision);
    for (const bytes of queue) {
      if (bytes === null) this.end();
      else {
        // A request among these bytes may have to wait too.
        this.#heldBytes -= bytes.length;
        this.push(bytes);
      }
    }
    this.#host.released();
  }

  #decide(request: ScannedRequest): Decision {
    const nowNs = this.#host.clock.nowNs();
    let delayMs = 0;
    let error: Decision['error'] = null;
    for (const active of this.#begun ? [] : this.#host.requestToxics()) {
      const { toxic, random } = active;
      if (isToxicOf(toxic, 'http_delay')) {
        if (!isChosen(active, toxic.attributes, nowNs)) continue;
        delayMs += delayDraw({ baseMs: toxic.attributes.delay, ...toxic.attributes }, random);
        active.injected();
      } else if (isToxicOf(toxic, 'http_error') && error === null && !this.#awaiting) {
        if (!isChosen(active, toxic.attributes, nowNs)) continue;
        error = toxic;
        active.injected();
      }
    }
    return { delayMs, error, request };
  }

  #answer({ name, attributes }: Toxic<'http_error'>, request: ScannedRequest, close: boolean): void {
    const { status } = attributes;
    const closes = close || request.protocol === 'http/1.0';
    const body = attributes.body ?? `{"error":"fault ${encodeURIComponent(name)}"}`;
    const hasBody = status !== 204 && status !== 304;
    const head = [
      `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? 'Fault'}`,
      ...(hasBody ? ['Content-Type: application/json', `Content-Length: ${Buffer.byteLength(body)}`] : []),
      `X-Reprise-Fault: ${encodeURIComponent(name)}`,
      ...(closes ? ['Connection: close'] : []),
    ].join('\r\n');
    const isWhole = hasBody && request.method !== 'HEAD';
    this.#closed = closes;
    this.#host.answer(Buffer.from(`${head}\r\n\r\n${isWhole ? body : ''}`), closes);
  }

  #hold(part: Buffer): void {
    this.#held.push(part);
    this.#heldBytes += part.length;
  }

  #passHeld(): void {
    for (const bytes of this.#takeHeld()) this.#next.push(bytes);
  }

  #dropHeld(): void {
    this.#takeHeld();
    this.#host.released();
  }

  #takeHeld(): Buffer[] {
    const held = this.#held;
    this.#held = [];
    this.#heldBytes -= held.reduce((sum, { length }) => sum + length, 0);
    return held;
  }

  #lookAway(bytes: Buffer): void {
    this.#reader.reset();
    const { error = null, request } = this.#decision ?? {};
    if (error !== null && request !== undefined) {
      // The upstream does not see this request. So the rest of it must not arrive there as another request.
      this.#dropHeld();
      if (!this.#closed) this.#answer(error, request, true);
      return;
    }
    this.#opaque = true;
    this.#passHeld();
    this.#next.push(bytes);
  }
}

/** Whether a fault acts on the request that has just begun. */
function isChosen(
  active: ActiveToxic,
  {
    probability = 1,
    first,
    period,
  }: { probability?: number | undefined; first?: number | undefined; period?: number | undefined },
  nowNs: number,
): boolean {
  active.requests += 1;
  if (first !== undefined && active.requests > first) return false;
  if (period !== undefined && nowNs - active.startedNs >= period * NS_PER_MS) return false;
  return probability >= 1 || unitDraw(active.random) < probability;
}

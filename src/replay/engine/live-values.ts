import { LIMITS } from '../../core/limits.ts';
import { cookiesOf, IssuedValues, listOf } from '../answers/issued-values.ts';
import type { AnswerHead } from '../answers/read-answer.ts';
import { withValue } from '../request/set-values.ts';
import type { LiveCounts } from './health.ts';
import type { LiveOptions, LivePart, PreparedRequest } from './messages.ts';

/** The answer to a request whose values are needed. */
interface Issuer {
  readonly values: (string | undefined)[];
  readonly waiting: Set<Waiting>;
  /** Whether it has all the values that it will have. */
  isOver: boolean;
  usersLeft: number;
  chars: number;
}

interface Waiting {
  readonly request: LiveRequest;
  readonly ready: (request: LiveRequest) => void;
}

interface Session {
  /** The latest values by header. Cookies are in a map of their own. */
  readonly headers: Map<string, string>;
  readonly cookies: Map<string, string>;
  cookieChars: number;
  hasEnded: boolean;
}

export type LiveRequest = PreparedRequest & { readonly live: LivePart };

export function isLive(request: PreparedRequest): request is LiveRequest {
  return request.live != null;
}

/**
 * The values that answers of this run have issued, until the requests that need them are sent, and the cookies of each
 * session. They are in memory only. A session stays on one sender, so no other thread is involved.
 */
export class LiveValues {
  readonly #options: LiveOptions;
  /** By index of the request, the oldest first. */
  readonly #issuers = new Map<number, Issuer>();
  /** The one that was used last is at the end. */
  readonly #sessions = new Map<number, Session>();
  readonly #counts = { linked: 0, waited: 0, diverged: 0, skipped: 0, forgotten: 0 };
  #chars = 0;

  constructor(options: LiveOptions) {
    this.#options = options;
  }

  counts(): LiveCounts {
    return { ...this.#counts };
  }

  /** A request is due. Its answer may be waited for from now on. */
  begin({ index, live }: LiveRequest): void {
    if (live.takes.length > 0) this.#counts.linked += 1;
    if (live.issues.length === 0) return;
    const [values, waiting] = [new Array<string | undefined>(live.issues.length), new Set<Waiting>()];
    this.#issuers.set(index, { values, waiting, isOver: false, usersLeft: live.users, chars: 0 });
    this.#forgetOldest();
  }

  /** Whether an answer that it needs may still have the value. */
  mustWait({ live }: LiveRequest): boolean {
    if (this.#sessions.get(live.session)?.hasEnded === true) return false;
    return live.takes.some(({ from, at }) => {
      const issuer = this.#issuers.get(from);
      return issuer !== undefined && !issuer.isOver && issuer.values[at] === undefined;
    });
  }

  /** Calls back once when a request that must wait must no longer. */
  wait(request: LiveRequest, ready: (request: LiveRequest) => void): void {
    this.#counts.waited += 1;
    const waiting = { request, ready };
    for (const { from } of request.live.takes) this.#issuers.get(from)?.waiting.add(waiting);
  }

  /** The request with its live values; null if it is not sent. Call it once, when it need not wait. */
  resolve(request: LiveRequest): PreparedRequest | null {
    const { onDivergence } = this.#options;
    const session = this.#sessionOf(request.live.session);
    if (session.hasEnded) {
      this.#letGo(request);
      this.#counts.skipped += 1;
      return null;
    }
    let resolved: LiveRequest = this.#echoed(request, session);
    let hasDiverged = false;
    for (const { from, at, to } of request.live.takes) {
      const value = this.#issuers.get(from)?.values[at];
      const next = value === undefined ? null : withValue(resolved, to, value);
      hasDiverged ||= next === null;
      resolved = next ?? resolved;
    }
    this.#letGo(request);
    if (!hasDiverged) return resolved;
    this.#counts.diverged += 1;
    if (onDivergence === 'recorded') return resolved;
    if (onDivergence === 'end-session') session.hasEnded = true;
    this.#counts.skipped += 1;
    return null;
  }

  /** The head of an answer came. @returns what reads its body; null if no value there is needed */
  answerBegins(index: number, live: LivePart, head: AnswerHead): IssuedValues | null {
    this.#keep(this.#sessionOf(live.session), head);
    const issuer = this.#issuers.get(index);
    if (issuer === undefined) return null;
    return new IssuedValues(live.issues, head, (at, value) => {
      if (issuer.values[at] !== undefined) return;
      issuer.values[at] = value;
      issuer.chars += value.length;
      // Given up meanwhile: what is put into it is held by nobody.
      if (this.#issuers.get(index) === issuer) this.#chars += value.length;
      this.#wake(issuer);
    });
  }

  /** A request has its result. */
  ended(index: number): void {
    const issuer = this.#issuers.get(index);
    if (issuer === undefined || issuer.isOver) return;
    issuer.isOver = true;
    this.#wake(issuer);
    this.#forgetOldest();
  }

  #wake(issuer: Issuer): void {
    for (const waiting of [...issuer.waiting]) {
      if (!issuer.waiting.has(waiting) || this.mustWait(waiting.request)) continue;
      for (const { from } of waiting.request.live.takes) this.#issuers.get(from)?.waiting.delete(waiting);
      issuer.waiting.delete(waiting);
      waiting.ready(waiting.request);
    }
  }

  /** A request needs its values no longer. Values that nobody else needs are freed. */
  #letGo({ live }: LiveRequest): void {
    for (const from of new Set(live.takes.map((take) => take.from))) {
      const issuer = this.#issuers.get(from);
      if (issuer === undefined) continue;
      issuer.usersLeft -= 1;
      if (issuer.usersLeft <= 0) this.#free(from, issuer);
    }
  }

  #free(index: number, issuer: Issuer): void {
    this.#issuers.delete(index);
    this.#chars -= issuer.chars;
  }

  /** Only what has ended is given up, so that nothing waits for it. The number of others is that of requests in flight. */
  #forgetOldest(): void {
    for (const [index, issuer] of this.#issuers) {
      const isFull = this.#issuers.size > LIMITS.liveExchanges || this.#chars * 2 > LIMITS.liveValueBytes;
      if (!isFull) return;
      if (!issuer.isOver) continue;
      this.#counts.forgotten += 1;
      this.#free(index, issuer);
    }
  }

  #sessionOf(number: number): Session {
    const session = this.#sessions.get(number) ?? {
      headers: new Map<string, string>(),
      cookies: new Map<string, string>(),
      cookieChars: 0,
      hasEnded: false,
    };
    this.#sessions.delete(number);
    this.#sessions.set(number, session);
    const [oldest] = this.#sessions.size > LIMITS.liveSessions ? this.#sessions.keys() : [];
    if (oldest !== undefined && this.#sessions.delete(oldest)) this.#counts.forgotten += 1;
    return session;
  }

  #keep(session: Session, { fields = {} }: AnswerHead): void {
    for (const name of this.#options.affinity) {
      const value = listOf(fields[name]).at(-1);
      if (value !== undefined && value.length <= LIMITS.liveCookieBytes) session.headers.set(name, value);
    }
    if (fields['set-cookie'] === undefined) return;
    for (const [name, value] of cookiesOf(fields)) {
      const before = session.cookies.get(name);
      const chars = name.length + value.length - (before === undefined ? 0 : name.length + before.length);
      if (session.cookieChars + chars > LIMITS.liveCookieBytes) {
        this.#counts.forgotten += 1;
        continue;
      }
      session.cookieChars += chars;
      session.cookies.set(name, value);
    }
  }

  /** The request with the session's cookies and headers, as far as the recorded request had such. */
  #echoed(request: LiveRequest, { headers, cookies }: Session): LiveRequest {
    let echoed = request;
    for (const header of request.live.echoes) {
      const value = headers.get(header);
      if (value !== undefined) echoed = withValue(echoed, { in: 'header', name: header }, value) ?? echoed;
      if (header !== 'cookie') continue;
      for (const [name, cookie] of cookies)
        echoed = withValue(echoed, { in: 'cookie', name }, cookie) ?? echoed;
    }
    return echoed;
  }
}

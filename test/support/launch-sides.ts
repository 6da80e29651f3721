import { expect } from 'vitest';
import { LAUNCH_SLOTS, type LaunchEnd, LaunchPad, type LaunchPlan } from '../../src/replay/launch-pad.ts';

/** What the pacer makes of a request that it claimed. */
export type Kind = LaunchEnd['kind'];
/** One move of the side that sends itself. */
export type SenderStep = 'layOut' | 'settle' | 'withdraw' | 'send';

/** A pad and its two sides, each of which does what its class does with it, a call of the pad at a time. */
export class LaunchSides {
  /** Requests that were launched, refused or sent, as they were. */
  readonly gone: { readonly request: number; readonly by: 'pacer' | 'sender' }[] = [];
  readonly #total: number;
  readonly #base: number;
  readonly #sender: number;
  readonly #ours: LaunchPad;
  readonly #pacers: LaunchPad;
  /** The sender's: its first request, and how many from there on are laid out. */
  #first = 0;
  #laidOut = 0;
  /** The pacer's: the next request, and how far it is with it. */
  #next = 0;
  #stage: 'waits' | 'passed' | 'claimed' = 'waits';
  #kind: Kind = 'launched';
  #givenBack: number | null = null;
  /** Requests that the pacer has left to their sender without a word in the pad. */
  readonly #left = new Set<number>();

  /** @param base order of the first request */
  constructor(total: number, base: number, sender: number) {
    this.#total = total;
    this.#base = base;
    this.#sender = sender;
    this.#ours = LaunchPad.create(2);
    this.#pacers = new LaunchPad(this.#ours.memory, 2);
    this.#pacers.pass(sender, (base - 1) | 0);
  }

  get over(): boolean {
    return this.#first === this.#total && this.#next === this.#total;
  }

  senderSteps(step: SenderStep): void {
    if (step === 'layOut') this.#layOut();
    else if (step === 'settle') this.#settle();
    else if (step === 'withdraw') this.#withdrawFrom(0);
    else this.#send();
  }

  pacerSteps(kind: Kind): void {
    const request = this.#next;
    if (this.#stage === 'waits') this.#pass(request);
    else if (this.#stage === 'passed') this.#claim(request, kind);
    else this.#end(request);
  }

  #layOut(): void {
    const request = this.#first + this.#laidOut;
    if (this.#laidOut === LAUNCH_SLOTS || request === this.#total) return;
    const order = this.#order(request);
    if (this.#ours.hasPassed(this.#sender, order)) return;
    bytesOf(request).copy(this.#ours.bytesOf(this.#sender, order));
    if (!this.#ours.layOut(this.#sender, order, planOf(request))) return;
    this.#laidOut += 1;
    expect(this.#left.has(request), `${request} is left to nobody`).toBe(false);
  }

  #settle(): void {
    while (this.#laidOut > 0) {
      const order = this.#order(this.#first);
      const end = this.#ours.endOf(this.#sender, order);
      if (end === null) return;
      const isGivenBack = end.kind === 'failed' || end.kind === 'left';
      if (isGivenBack) this.#withdrawFrom(1);
      this.#ours.clear(this.#sender, order);
      this.#laidOut -= 1;
      if (isGivenBack) continue;
      expect(end).toEqual(endOf(end.kind, this.#first));
      this.#first += 1;
    }
  }

  #withdrawFrom(place: number): void {
    while (this.#laidOut > place) {
      const order = this.#order(this.#first + this.#laidOut - 1);
      if (!this.#ours.takeBack(this.#sender, order)) return;
      this.#laidOut -= 1;
    }
  }

  /** Its first requests, once their instants were passed by; what it has laid out it may not send. */
  #send(): void {
    if (this.#laidOut > 0) return;
    while (this.#first < this.#total && this.#ours.hasPassed(this.#sender, this.#order(this.#first))) {
      this.#goes(this.#first, 'sender');
      this.#first += 1;
    }
  }

  #pass(request: number): void {
    if (request === this.#total) return;
    this.#pacers.pass(this.#sender, this.#order(request));
    if (this.#pacers.isReady(this.#sender, this.#order(request))) this.#stage = 'passed';
    else this.#leave(request);
  }

  #claim(request: number, kind: Kind): void {
    const back = this.#givenBack;
    if (back !== null && this.#pacers.isGivenBack(this.#sender, this.#order(back))) {
      this.#leave(request);
      return;
    }
    const plan = this.#pacers.claim(this.#sender, this.#order(request));
    if (plan === null) {
      this.#leave(request);
      return;
    }
    expect(plan).toEqual(planOf(request));
    const bytes = this.#pacers.bytesOf(this.#sender, this.#order(request)).subarray(0, plan.bytes);
    expect(bytes.toString()).toBe(bytesOf(request).toString());
    this.#kind = kind;
    this.#stage = 'claimed';
    if (kind === 'failed' || kind === 'left') this.#givenBack = request;
    else this.#goes(request, 'pacer');
  }

  #end(request: number): void {
    this.#pacers.end(this.#sender, this.#order(request), endOf(this.#kind, request));
    this.#stage = 'waits';
    this.#next += 1;
  }

  #leave(request: number): void {
    // What stands in the pad, whoever was given something back takes from there.
    if (!this.#pacers.isReady(this.#sender, this.#order(request))) this.#left.add(request);
    this.#stage = 'waits';
    this.#next += 1;
  }

  #goes(request: number, by: 'pacer' | 'sender'): void {
    this.gone.push({ request, by });
    expect(this.gone.length - 1, `${request} goes twice or before its turn`).toBe(request);
  }

  #order(request: number): number {
    return (this.#base + request) | 0;
  }
}

function bytesOf(request: number): Buffer {
  return Buffer.from(`request ${request} ${'.'.repeat(request % 11)}`);
}

function planOf(request: number): LaunchPlan {
  return {
    fd: 100 + request,
    inode: 2 ** 52 + request,
    bytes: bytesOf(request).length,
    bodyBytes: request * 3,
    tells: request % 2 === 1,
  };
}

function endOf(kind: Kind, request: number): LaunchEnd {
  const atNs = 9_007_199_254 * 1e6 + request;
  if (kind === 'launched') return { kind, atNs, writtenBytes: request + 1, inFlight: request + 2 };
  if (kind === 'failed' || kind === 'left') return { kind };
  return { kind, atNs };
}

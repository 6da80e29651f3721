import { absentView, endedView, type LiveView, livePage, livePolicy } from '../../analysis/live/page.ts';
import { endedText, RECORDER_TITLE, RecorderWatch } from '../../analysis/live/recorder.ts';
import { RunWatch } from '../../analysis/live/run.ts';
import type { PageAssets } from '../../analysis/render/html.ts';
import type { RecorderStatus } from '../../core/accounting.ts';
import { type Clock, systemClock } from '../../core/clock.ts';
import { AppError, reasonOf } from '../../core/errors.ts';
import type { CapacityStep } from '../../documents/capacity.ts';
import type { ReplayEvent } from '../../documents/events.ts';
import type { Objective } from '../../documents/metrics/objectives.ts';
import { livePageAssets, pageAssets } from '../package.ts';
import type { Shown } from './server.ts';

/** The live page of a run, built from its events. After the run, the same address shows a final page. */
export class RunPage {
  readonly #watch: RunWatch;
  readonly #clock: Clock;
  readonly #assets = livePageAssets();
  readonly #policy = livePolicy(this.#assets);
  /** Built once for all readers, until the next event. */
  #shown: Shown | null = null;
  #isReplaced = false;

  /** @param title title of the page, such as `Replay` */
  constructor(title: string, objectives: readonly Objective[], clock: Clock = systemClock) {
    this.#watch = new RunWatch(title, objectives);
    this.#clock = clock;
  }

  readonly pages = { '/': () => (this.#shown ??= this.#live()) };

  add(event: ReplayEvent): void {
    this.#change(() => this.#watch.add(event, this.#clock.epochUs() / 1e6));
  }

  addStep(step: CapacityStep): void {
    this.#change(() => this.#watch.addStep(step));
  }

  /** The run is over. @param why what happens next */
  end(why: string): void {
    this.#change(() => this.#watch.end(why));
  }

  /** Replaces the live page by another page. */
  replace(make: (assets: PageAssets) => string): void {
    const assets = pageAssets();
    this.#shown = { status: 200, type: 'text/html', policy: livePolicy(assets), body: make(assets) };
    this.#isReplaced = true;
  }

  #change(change: () => void): void {
    change();
    if (!this.#isReplaced) this.#shown = null;
  }

  #live(): Shown {
    const body = livePage(this.#watch.view(), this.#assets);
    return { status: 200, type: 'text/html', policy: this.#policy, body };
  }
}

const ASK_MS = 1_000;

/**
 * Requests the status of a recorder each second, and shows it as a page and as JSON. The recorder may stop and start.
 */
export class RecorderPage {
  readonly #ask: () => Promise<RecorderStatus>;
  readonly #assets = livePageAssets();
  readonly #policy = livePolicy(this.#assets);
  readonly #watch = new RecorderWatch();
  #latest: RecorderStatus | null = null;
  /** The latest status of a recording that was draining: if it is gone after that, it ended. */
  #draining: RecorderStatus | null = null;
  /** Why there is no current status. */
  #absent: { readonly error: string; readonly hint: string | null } = { error: 'not asked yet', hint: null };
  #timer: NodeJS.Timeout | undefined;
  #isOver = false;

  /** @param ask requests the status; its errors are shown */
  constructor(ask: () => Promise<RecorderStatus>) {
    this.#ask = ask;
  }

  readonly pages = { '/': () => this.#page(), '/status.json': () => this.#document() };

  /** Requests the first status. */
  async start(): Promise<void> {
    await this.#look();
  }

  stop(): void {
    this.#isOver = true;
    clearTimeout(this.#timer);
  }

  async #look(): Promise<void> {
    try {
      this.#latest = await this.#ask();
      this.#draining = this.#latest.draining ? this.#latest : null;
      this.#watch.add(this.#latest);
    } catch (error) {
      this.#latest = null;
      this.#absent = { error: reasonOf(error), hint: error instanceof AppError ? error.hint : null };
    }
    if (!this.#isOver) this.#timer = setTimeout(() => void this.#look(), ASK_MS);
  }

  #page(): Shown {
    const view = this.#latest === null ? null : this.#watch.view();
    return {
      status: view === null ? 503 : 200,
      type: 'text/html',
      policy: this.#policy,
      body: livePage(view ?? this.#goneView(), this.#assets),
    };
  }

  #goneView(): LiveView {
    if (this.#draining !== null) return endedView(RECORDER_TITLE, endedText(this.#draining));
    const { error, hint } = this.#absent;
    return absentView(RECORDER_TITLE, hint === null ? error : `${error}. ${hint}`);
  }

  #document(): Shown {
    const body = JSON.stringify(this.#latest ?? this.#absent);
    return { status: this.#latest === null ? 503 : 200, type: 'application/json', body };
  }
}

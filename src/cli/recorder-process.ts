import type { Socket } from 'node:net';
import type { Clock } from '../core/clock.ts';
import { AppError, reasonOf } from '../core/errors.ts';
import { SUPERVISION } from '../core/limits.ts';
import type { FromRecorder, ToRecorder } from '../proxy/messages.ts';
import { openRecording, type RecorderSettings, type Recording } from './recording.ts';

/** How often the recorder looks whether a commit is due, ms. */
const TICK_MS = 25;
/** How often the wall clock is paired with the monotonic one, ms. */
const ANCHOR_MS = 60_000;

export interface RecorderProcessDeps {
  readonly clock: Clock;
  readonly say: (message: FromRecorder) => void;
  readonly onEnd: () => void;
}

/**
 * A recorder as the supervisor talks to it. Without a supervisor it goes on until its forwarders are gone, so
 * that what they still carry is kept.
 */
export class RecorderProcess {
  readonly #deps: RecorderProcessDeps;
  readonly #timers: NodeJS.Timeout[] = [];
  #recording: Recording | null = null;
  #pipes = 0;
  #orphaned = false;

  constructor(deps: RecorderProcessDeps) {
    this.#deps = deps;
  }

  hear(message: ToRecorder<RecorderSettings>, pipe: () => Socket): void {
    if (message.type === 'start') {
      this.#start(message.settings);
      this.#attach(pipe());
    } else if (message.type === 'forwarder') this.#attach(pipe());
    else this.#stop(message.losses);
  }

  orphaned(): void {
    this.#orphaned = true;
    if (this.#pipes === 0) this.#stop([]);
  }

  #start(settings: RecorderSettings): void {
    const { clock, say } = this.#deps;
    try {
      this.#recording = openRecording(settings, clock, (file) => say({ type: 'finished', file }));
    } catch (error) {
      const hint = error instanceof AppError ? error.hint : null;
      say({ type: 'fault', message: reasonOf(error), hint });
      this.#deps.onEnd();
      return;
    }
    const { recorder, writer, epoch, unsealed } = this.#recording;
    say({ type: 'ready', unsealed });
    for (const anchor of epoch.takeAnchors()) writer.addAnchor(anchor);
    this.#every(TICK_MS, () => recorder.commitIfDue());
    this.#every(ANCHOR_MS, () => {
      epoch.anchor(clock.anchor(), ANCHOR_MS * 1e6);
      for (const anchor of epoch.takeAnchors()) writer.addAnchor(anchor);
      writer.housekeep();
    });
    this.#every(SUPERVISION.heartbeatMs, () => {
      const { committed, shedding } = recorder;
      say({ type: 'beat', rssBytes: process.memoryUsage.rss(), committed, shedding });
    });
  }

  #attach(pipe: Socket): void {
    if (!this.#recording) return;
    this.#pipes += 1;
    this.#recording.recorder.attach(pipe);
    pipe.on('close', () => {
      this.#pipes -= 1;
      if (this.#orphaned && this.#pipes === 0) this.#stop([]);
    });
  }

  #stop(losses: Extract<ToRecorder<unknown>, { type: 'stop' }>['losses']): void {
    for (const timer of this.#timers.splice(0)) clearInterval(timer);
    if (this.#recording) {
      for (const loss of losses) this.#recording.writer.addLoss(loss);
      this.#recording.close();
      this.#recording = null;
    }
    this.#deps.say({ type: 'stopped' });
    this.#deps.onEnd();
  }

  #every(ms: number, act: () => void): void {
    this.#timers.push(setInterval(act, ms));
  }
}

import type { RunProgress, RunStatistics } from '../analysis/run-statistics.ts';
import { formatMs } from '../core/units.ts';
import type { Replay, ReplayPosition } from '../replay/replay.ts';
import type { Terminal } from './terminal.ts';

const REDRAW_MS = 250;
/** Between two lines where nobody watches a terminal. */
const LINE_MS = 10_000;

interface Sample {
  readonly elapsedNs: number;
  readonly due: number;
  readonly ended: number;
}

/** Shows where a run is: one line redrawn on a terminal, else a line now and then. */
export class ReplayProgress {
  readonly #replay: Pick<Replay, 'position'>;
  readonly #statistics: Pick<RunStatistics, 'progress'>;
  readonly #terminal: Terminal;
  readonly #plannedSpanNs: number;
  readonly #timer: NodeJS.Timeout;
  #last: Sample = { elapsedNs: 0, due: 0, ended: 0 };

  constructor(
    replay: Pick<Replay, 'position'>,
    statistics: Pick<RunStatistics, 'progress'>,
    terminal: Terminal,
    plannedSpanNs: number,
  ) {
    this.#replay = replay;
    this.#statistics = statistics;
    this.#terminal = terminal;
    this.#plannedSpanNs = plannedSpanNs;
    this.#timer = setInterval(() => this.#show(), terminal.interactive ? REDRAW_MS : LINE_MS);
    this.#timer.unref();
  }

  end(): void {
    clearInterval(this.#timer);
    this.#terminal.endProgress();
  }

  #show(): void {
    const position = this.#replay.position();
    const progress = this.#statistics.progress();
    const line = this.#line(position, progress);
    if (this.#terminal.interactive) this.#terminal.progress(line);
    else this.#terminal.note(line);
  }

  #line(position: ReplayPosition, progress: RunProgress): string {
    const ended = progress.sent;
    const due = ended + progress.refused + position.inFlight;
    const now = { elapsedNs: position.elapsedNs, due, ended };
    const seconds = (now.elapsedNs - this.#last.elapsedNs) / 1e9;
    const rate = (count: number) => (seconds > 0 ? `${(count / seconds).toFixed(1)}/s` : '–');
    const line = [
      formatMs(position.elapsedNs / 1e6),
      `offered ${rate(now.due - this.#last.due)}`,
      `achieved ${rate(now.ended - this.#last.ended)}`,
      `in flight ${position.inFlight}`,
      `lag p99 ${progress.lagP99Us === null ? '–' : formatMs(progress.lagP99Us / 1e3)}`,
      `errors ${progress.failed}`,
      ...(progress.refused > 0 ? [`refused ${progress.refused}`] : []),
      this.#remaining(position.elapsedNs),
    ].join('  ');
    this.#last = now;
    return line;
  }

  #remaining(elapsedNs: number): string {
    const leftNs = this.#plannedSpanNs - elapsedNs;
    return leftNs > 0 ? `ETA ${formatMs(leftNs / 1e6)}` : 'waiting for the last answers';
  }
}

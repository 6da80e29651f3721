import { setImmediate } from 'node:timers/promises';
import type { ReplayPlan } from '../app/replay/plan.ts';
import { StagedDirectory, StagedFile } from '../app/staged-output.ts';
import { AppError, reasonOf } from '../core/errors.ts';
import type { ExportedFile, ExportFormat, ExportSettings, ExportWriter } from '../formats/export-writer.ts';
import { describeFilters } from '../replay/filter.ts';
import type { ReplayAudit } from '../replay/plan/plan.ts';
import { arrivalsAlone, nothingSelected } from '../replay/window/capture.ts';
import type { Playback } from '../replay/window/playback.ts';
import { ExportPlan } from './export-plan.ts';

/** Sends between two looks at whether somebody wants it to stop. */
const BREATH = 256;
const TABLES_HOLD_ALL = 'csv and parquet hold what can be said without requests.';

export interface ExportRequest {
  readonly format: ExportFormat;
  readonly settings: ExportSettings;
  readonly plan: ReplayPlan;
  readonly source: Playback;
  readonly out: string;
}

export interface ExportDeps {
  readonly signal: AbortSignal;
  readonly onProgress: (sends: number) => void;
}

export interface ExportResult {
  /** Exchanges of the window that the filters left. */
  readonly recorded: number;
  readonly filtered: number;
  /** Requests, or rows of a table, that the output holds. */
  readonly exported: number;
  readonly spanNs: number;
  readonly audit: ReplayAudit;
  /** Requests that lost something on the way, by what it was. */
  readonly lost: Readonly<Record<string, number>>;
  readonly files: readonly ExportedFile[];
  readonly usage: readonly string[];
}

/**
 * Writes what is planned of a capture in another tool's format, whole or not at all.
 * @throws AppError for bad output or nothing to write; the signal's reason when it aborts; nothing is left then
 */
export async function exportCapture(request: ExportRequest, deps: ExportDeps): Promise<ExportResult> {
  const { format, settings, out, plan } = request;
  if (format.holds === 'requests' && plan.overview.arrivalsOnly) throw arrivalsAlone(plan.overview.name);
  const planned = new ExportPlan(plan, request.source);
  await planned.check();
  const staged =
    format.shape === 'file' ? new StagedFile(out, 'exporting') : new StagedDirectory(out, 'exporting');
  let writer: ExportWriter | null = null;
  try {
    writer = written(out, () => format.open(staged.path, settings));
    const exported = await fill(writer, planned, request, deps);
    staged.publish();
    return {
      recorded: planned.recorded,
      filtered: request.source.filtered,
      exported,
      spanNs: planned.spanNs,
      audit: planned.audit,
      lost: writer.lost.all,
      files: writer.files,
      usage: writer.usage,
    };
  } catch (thrown) {
    writer?.abandon();
    staged.discard();
    throw thrown;
  }
}

/** @returns how many sends the output holds */
async function fill(
  writer: ExportWriter,
  planned: ExportPlan,
  { format, plan, out }: ExportRequest,
  { signal, onProgress }: ExportDeps,
): Promise<number> {
  let exported = 0;
  const sends = format.holds === 'requests' ? planned.requests() : planned.rows();
  for (const send of sends) {
    if (written(out, () => writer.add(send))) exported += 1;
    if (send.index % BREATH !== BREATH - 1) continue;
    await setImmediate();
    signal.throwIfAborted();
    onProgress(exported);
  }
  signal.throwIfAborted();
  if (planned.recorded === 0) throw nothingSelected(describeFilters(plan.options.filters));
  if (planned.sends === 0) throw nothingSendable(planned);
  if (exported === 0) throw nothingFits(format, planned, writer);
  const { spanNs, concurrency } = planned;
  written(out, () => writer.end({ requests: exported, spanNs, concurrency }));
  return exported;
}

function nothingFits({ name }: ExportFormat, { sends }: ExportPlan, { lost }: ExportWriter): AppError {
  const why = Object.entries(lost.all).map(([what, count]) => `${what} ${count}`);
  return new AppError('CAPTURE_EMPTY', `None of ${sends} requests fits ${name}: ${why.join(', ')}`, {
    hint: TABLES_HOLD_ALL,
  });
}

function nothingSendable({ recorded, audit }: ExportPlan): AppError {
  const why = Object.entries({ ...audit.skipped, ...audit.unreplayableByReason })
    .filter(([, count]) => count > 0)
    .map(([reason, count]) => `${reason} ${count}`);
  return new AppError('CAPTURE_EMPTY', `None of ${recorded} exchanges can be sent: ${why.join(', ')}`, {
    hint: TABLES_HOLD_ALL,
  });
}

/** The file system's errors, as errors of the output. */
function written<T>(out: string, write: () => T): T {
  try {
    return write();
  } catch (thrown) {
    if (thrown instanceof AppError || !(thrown instanceof Error) || !('syscall' in thrown)) throw thrown;
    throw new AppError('OUTPUT_UNWRITABLE', `${out} cannot be written: ${reasonOf(thrown)}`, {
      hint: 'Nothing was kept. Make room or name another place, then export again.',
      cause: thrown,
    });
  }
}

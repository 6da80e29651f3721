import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { type OwnDoing, type SideRow, sideRowOfExchange, sideRowOfSend } from '../analysis/compare/pairs.ts';
import { OutcomeCounts } from '../analysis/run/outcomes.ts';
import { rowDifferences } from '../analysis/run/run-statistics.ts';
import { isStoppedByFailures, JUDGEMENT_BOUNDS } from '../analysis/verdict/run-context.ts';
import { AppError } from '../core/errors.ts';
import { byProgram } from '../core/options.ts';
import type { TimeRange } from '../core/ports.ts';
import { NS_PER_MS } from '../core/units.ts';
import type { ProfileDocument } from '../documents/profile.ts';
import { type ReplayDocument, readReplayDocument } from '../documents/replay.ts';
import { isPart, whatIs } from '../storage/capture/directory.ts';
import { type CaptureReader, openCapture } from '../storage/capture/reader.ts';
import { RunReader } from '../storage/runs/reader.ts';
import { RUN_DATABASE, RUN_SUMMARY } from '../storage/runs/schema.ts';
import { PROFILE_OPTIONS, profileInThread, readProfile, resolveProfileOptions } from './profile.ts';
import { assertOwnRows, sendsOf } from './run-files.ts';

export interface RunSide {
  readonly kind: 'run';
  readonly name: string;
  readonly summary: ReplayDocument;
  /** The judged rows. At their end, AppError INPUT_INVALID is thrown if they do not match the summary. */
  rows(): Generator<SideRow>;
  /** The time range of the recording that the run replayed. */
  range(): TimeRange | undefined;
  close(): void;
}

export interface CaptureSide {
  readonly kind: 'recording';
  readonly name: string;
  rows(range: TimeRange | undefined): Generator<SideRow>;
  close(): void;
}

export interface ProfileSide {
  readonly kind: 'profile';
  readonly name: string;
  readonly document: ProfileDocument;
  close(): void;
}

export type Side = RunSide | CaptureSide | ProfileSide;

/** Opens a run, a capture or a profile by its name. @throws AppError INPUT_INVALID, or as opening a capture does */
export function openSide(name: string): Side {
  const there = statSync(name, { throwIfNoEntry: false });
  if (there?.isFile()) assertNoPart(name);
  if (there?.isFile()) return { kind: 'profile', name, document: readProfile(name), close: () => {} };
  const isRun = [RUN_DATABASE, RUN_SUMMARY].some((file) => existsSync(join(name, file)));
  return isRun ? openRun(name) : openRecording(name);
}

/** @throws AppError INPUT_INVALID for a file of a run, a search or a capture */
function assertNoPart(file: string): void {
  if (!isPart(file)) return;
  const known = whatIs(file);
  throw new AppError('INPUT_INVALID', `${file} cannot be compared: ${known?.what}`, {
    hint: known?.hint ?? null,
  });
}

/** Profiles a capture as `profile` does, but without payloads. */
export function profileOfCapture({ name }: CaptureSide): Promise<ProfileDocument> {
  const options = resolveProfileOptions(byProgram(PROFILE_OPTIONS, { payloadSample: '0' }));
  return profileInThread({ directory: name, options });
}

function openRun(name: string): RunSide {
  const reader = new RunReader(name);
  let summary: ReplayDocument;
  try {
    summary = summaryOf(name, reader.summary);
  } catch (thrown) {
    reader.close();
    throw thrown;
  }
  const ours = ownDoingIn(summary);
  return {
    kind: 'run',
    name,
    summary,
    *rows() {
      const outcomes = new OutcomeCounts();
      for (const send of sendsOf(name, reader)) {
        if (send.warmup) continue;
        outcomes.add(send);
        yield sideRowOfSend(send, ours);
      }
      assertOwnRows(name, rowDifferences(reader.run?.id ?? null, outcomes.figures(), summary));
    },
    range: () => rangeOf(summary),
    close: () => reader.close(),
  };
}

function summaryOf(name: string, summary: object | null): ReplayDocument {
  const read = summary && readReplayDocument(name, summary);
  if (read?.closedLoop !== undefined) {
    throw new AppError(
      'INPUT_INVALID',
      `the run ${name} is a closed loop: it has no scheduled latency to compare`,
      {
        hint: 'Replay the recorded times, or use --rate.',
      },
    );
  }
  if (read !== null) return read;
  throw new AppError('INPUT_INVALID', `the run ${name} was never sealed: it did not finish`, {
    hint: 'Replay again; an incomplete run cannot be compared.',
  });
}

/** The error for a name that is not comparable lists all comparable kinds. */
function captureNamed(name: string): CaptureReader {
  try {
    return openCapture(name);
  } catch (thrown) {
    if (!(thrown instanceof AppError) || thrown.code !== 'CAPTURE_NOT_FOUND') throw thrown;
    throw new AppError('CAPTURE_NOT_FOUND', `${name} cannot be compared: ${thrown.message}`, {
      hint: 'Give a run (replay --out), a capture (record --dir) or a profile (the file of profile --json).',
      cause: thrown,
    });
  }
}

function openRecording(name: string): CaptureSide {
  const reader = captureNamed(name);
  return {
    kind: 'recording',
    name,
    *rows(range) {
      for (const row of reader.rows(range)) yield sideRowOfExchange(row);
    },
    close: () => reader.close(),
  };
}

/** The lag limit of the run's own judgement, and whether it ended early for a reason other than failures. */
function ownDoingIn({ bounds, latencyMs, interrupted }: ReplayDocument): OwnDoing {
  const { lagNs, lagShare } = { ...JUDGEMENT_BOUNDS, ...bounds };
  return {
    lagBoundNs: Math.max(lagNs, lagShare * (latencyMs.service.p50 ?? 0) * NS_PER_MS),
    endedOpen: interrupted !== null && !isStoppedByFailures(interrupted),
  };
}

function rangeOf({ options }: ReplayDocument): TimeRange | undefined {
  const [fromUs, toUs] = [options['fromUs'], options['toUs']];
  return typeof fromUs === 'number' && typeof toUs === 'number' ? { fromUs, toUs } : undefined;
}

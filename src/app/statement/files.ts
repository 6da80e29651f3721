import { createHash } from 'node:crypto';
import { closeSync, existsSync, openSync, readdirSync, readFileSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { type PlayedPart, SEARCH_DIRECTORY } from '../../analysis/statement/build-document.ts';
import { AppError } from '../../core/errors.ts';
import type { CapacityDocument, EndedBy } from '../../documents/capacity.ts';
import { type ReplayDocument, readReplayDocument } from '../../documents/replay.ts';
import {
  readStatement,
  STATEMENT_PARTS,
  type StatementDocument,
  type StatementPart,
  type StatementPlan,
  statementPlanSchema,
  statementSchema,
} from '../../documents/statement.ts';
import { CAPACITY_FILE, STATEMENT_FILE } from '../../storage/capture/directory.ts';
import { RunReader } from '../../storage/runs/reader.ts';
import { RUN_DATABASE, RUN_SUMMARY } from '../../storage/runs/schema.ts';
import { keptStateIn, otherSettings, readCapacityDocument, writePrivately } from '../capacity/state.ts';

const PLAN_FILE = 'plan.json';
/** In the format of sha256sum, which checks it without Reprise. It is what a person signs. */
export const DIGESTS_FILE = 'SHA256SUMS';
const SIGNATURE = /^SHA256SUMS\.\w+$/;

/** Ends of a search after which it goes on: it was stopped, or the target was away. */
const GOES_ON: ReadonlySet<EndedBy> = new Set(['interrupted', 'target_failed', 'not_ready']);

/**
 * The plan in the directory of a statement; null for an empty one.
 * @throws AppError OPTION_INVALID for the plan of other options, OUTPUT_EXISTS, OUTPUT_UNWRITABLE, INPUT_INVALID
 */
export function keptPlan(directory: string, settings: string): StatementPlan | null {
  const path = keptStateIn(directory, PLAN_FILE, 'statement');
  if (path === null) return null;
  const plan = readStatement(statementPlanSchema, readFileSync(path, 'utf8'), path);
  if (plan.settings === settings) return plan;
  throw otherSettings(directory, 'statement');
}

export function writePlan(directory: string, plan: StatementPlan): void {
  writePrivately(join(directory, PLAN_FILE), `${JSON.stringify(plan)}\n`);
}

/** The plan of a statement that exists. @throws AppError INPUT_INVALID */
export function readPlan(directory: string): StatementPlan {
  return readStatement(statementPlanSchema, textOf(directory, PLAN_FILE), join(directory, PLAN_FILE));
}

export function readDocument(directory: string): StatementDocument {
  return readStatement(statementSchema, textOf(directory, STATEMENT_FILE), join(directory, STATEMENT_FILE));
}

function textOf(directory: string, file: string): string {
  try {
    return readFileSync(join(directory, file), 'utf8');
  } catch (cause) {
    throw new AppError('INPUT_INVALID', `${directory} holds no statement: ${file} cannot be read`, {
      hint: 'Give the directory of a statement: that of --out, or the one that the command printed.',
      cause,
    });
  }
}

/** The parts that were replayed to their end, in their order. A stopped one does not count. */
export function playedIn(directory: string): PlayedPart[] {
  return STATEMENT_PARTS.flatMap((part) => {
    const runs = attemptsOf(directory, part).flatMap((name): PlayedPart[] => {
      const document = sealedIn(join(directory, name));
      return document?.interrupted === null ? [{ part, directory: name, document }] : [];
    });
    return runs.slice(-1);
  });
}

/** The document of a run; null if it was not sealed. @throws AppError INPUT_INVALID for a damaged one */
function sealedIn(directory: string): ReplayDocument | null {
  if (!existsSync(join(directory, RUN_SUMMARY))) return null;
  const reader = new RunReader(directory);
  try {
    return reader.summary && readReplayDocument(directory, reader.summary);
  } finally {
    reader.close();
  }
}

/** Whether a search would not go on with this budget. */
export function isOver({ endedBy, budgetS }: CapacityDocument, searchS: number): boolean {
  return !GOES_ON.has(endedBy) && (endedBy !== 'budget' || budgetS >= searchS);
}

/** The search, unless a stop ended it; null before that. */
export function searchedIn(directory: string): CapacityDocument | null {
  const place = join(directory, SEARCH_DIRECTORY);
  if (!existsSync(join(place, CAPACITY_FILE))) return null;
  const document = readCapacityDocument(place);
  return document.endedBy === 'interrupted' ? null : document;
}

/** The directory of the next run of a part. A stopped run keeps its own. */
export function nextDirectory(directory: string, part: StatementPart): string {
  const before = attemptsOf(directory, part).length;
  return join(directory, before === 0 ? part : `${part}-${before + 1}`);
}

function attemptsOf(directory: string, part: StatementPart): string[] {
  const names = new Set(readdirSync(directory));
  const attempts: string[] = [];
  for (let name: string = part; names.has(name); name = `${part}-${attempts.length + 1}`) attempts.push(name);
  return attempts;
}

/** The digests of all files that a statement rests on. */
export function digestsOf(
  directory: string,
  played: readonly PlayedPart[],
  capacity: CapacityDocument | null,
): StatementDocument['digests'] {
  const files = [
    PLAN_FILE,
    ...played.flatMap((each) => [RUN_SUMMARY, RUN_DATABASE].map((file) => join(each.directory, file))),
    ...(capacity === null ? [] : [join(SEARCH_DIRECTORY, CAPACITY_FILE)]),
  ];
  return files.map((file) => ({ file, sha256: digestOf(join(directory, file)) }));
}

/** Writes a statement, and the digests that a person signs. */
export function writeStatement(directory: string, document: StatementDocument): void {
  const path = join(directory, STATEMENT_FILE);
  writePrivately(path, `${JSON.stringify(document)}\n`);
  const all = [...document.digests, { file: STATEMENT_FILE, sha256: digestOf(path) }];
  const lines = all.map(({ file, sha256 }) => `${sha256}  ${file}\n`);
  writePrivately(join(directory, DIGESTS_FILE), lines.join(''));
}

/** The signatures beside the digests, by the name of their files. */
export function signaturesIn(directory: string): string[] {
  return readdirSync(directory).filter((name) => SIGNATURE.test(name));
}

/** The files whose digest is another one, or that are missing, with the reason. */
export function changedIn(directory: string): { readonly file: string; readonly why: string }[] {
  const lines = textOf(directory, DIGESTS_FILE).split('\n');
  return lines.flatMap((line) => {
    const [, sha256 = '', file = ''] = /^([0-9a-f]{64}) {2}(.+)$/.exec(line) ?? [];
    if (file === '') return line === '' ? [] : [{ file: DIGESTS_FILE, why: 'a line of it is no digest' }];
    const path = join(directory, file);
    if (!existsSync(path)) return [{ file, why: 'it is missing' }];
    return digestOf(path) === sha256 ? [] : [{ file, why: 'it was changed' }];
  });
}

const READ_BYTES = 1024 * 1024;

/** A run may have gigabytes of rows, so a file is read in pieces. */
function digestOf(path: string): string {
  const hash = createHash('sha256');
  const piece = Buffer.alloc(READ_BYTES);
  const descriptor = openSync(path, 'r');
  try {
    for (let bytes = -1; bytes !== 0; ) {
      bytes = readSync(descriptor, piece);
      hash.update(piece.subarray(0, bytes));
    }
  } finally {
    closeSync(descriptor);
  }
  return hash.digest('hex');
}

import { accessSync, constants, existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { isSpoiled } from '../../analysis/capacity/build-document.ts';
import { AppError, reasonOf } from '../../core/errors.ts';
import {
  CAPACITY_SCHEMA_VERSION,
  type CapacityDocument,
  type CapacityState,
  capacitySchema,
  capacityStateSchema,
  type NoiseFigures,
  type NoiseFile,
  noiseFileSchema,
} from '../../documents/capacity.ts';
import {
  CAPACITY_FILE,
  isMissing,
  makeDirectories,
  writeFileDurably,
} from '../../storage/capture/directory.ts';
import { writingTo } from '../staged-output.ts';

const STATE_FILE = 'state.json';
const PRIVATE_DIRECTORY = 0o700;
const PRIVATE_FILE = 0o600;

/**
 * The path of a state file in a directory. Null for an empty directory or a new one, which is created. It is checked
 * before anything is sent, so that nothing begins whose state cannot be kept.
 * @param what whose state it is
 * @throws AppError OUTPUT_EXISTS for a directory with other files, OUTPUT_UNWRITABLE
 */
export function keptStateIn(directory: string, file: string, what: string): string | null {
  const path = join(directory, file);
  if (existsSync(path)) return path;
  writingTo(directory, () => {
    makeDirectories(directory, PRIVATE_DIRECTORY);
    accessSync(directory, constants.W_OK);
  });
  if (readdirSync(directory).length === 0) return null;
  throw new AppError('OUTPUT_EXISTS', `${directory} is not empty, and holds no ${what} that could go on`, {
    hint: 'Give a new directory to --out.',
  });
}

/** The error for a directory whose state was made by another command line. @param what whose state it is */
export function otherSettings(directory: string, what: string, mayChange = ''): AppError {
  return new AppError('OPTION_INVALID', `--out: the ${what} in ${directory} asked for something else`, {
    hint: `Repeat its command to go on with it${mayChange}, or give a new directory.`,
  });
}

/** The state of a search in its directory; null for an empty one. @throws AppError */
export function readState(directory: string, settings: string): CapacityState | null {
  const path = keptStateIn(directory, STATE_FILE, 'search');
  if (path === null) return null;
  const state = parsed(path, (json) => capacityStateSchema.parse(json));
  if (state.settings === settings) return state;
  throw otherSettings(
    directory,
    'search',
    ' (--budget, --multiplier and what limits the generator may change)',
  );
}

/**
 * The state of a resumed search. It has no steps if the target did not answer as recorded. If the generator's options
 * have changed, windows that the generator spoiled are removed.
 */
export function goingOn(state: CapacityState, generator: string): CapacityState {
  if (state.calibration?.representative === false) {
    return { ...state, generator, calibration: null, noise: null, baselineMs: null, steps: [] };
  }
  if (state.generator === generator) return state;
  const steps = state.steps
    .map((step) => ({ ...step, windows: step.windows.filter((window) => !isSpoiled(window)) }))
    .filter(({ windows }) => windows.length > 0);
  return { ...state, generator, steps };
}

/** Writes a state. @throws AppError OUTPUT_UNWRITABLE */
export function writeState(directory: string, state: CapacityState): void {
  writePrivately(join(directory, STATE_FILE), `${JSON.stringify(state)}\n`);
}

/** Writes a file atomically, so that a reader gets the old or the new one. @throws AppError OUTPUT_UNWRITABLE */
export function writePrivately(path: string, text: string): void {
  writingTo(path, () => {
    makeDirectories(dirname(path), PRIVATE_DIRECTORY);
    writeFileDurably(path, text, PRIVATE_FILE);
  });
}

/** Writes the document of a search into its directory. @throws AppError OUTPUT_UNWRITABLE */
export function writeCapacityDocument(directory: string, document: CapacityDocument): void {
  writePrivately(join(directory, CAPACITY_FILE), `${JSON.stringify(document)}\n`);
}

/** @throws AppError INPUT_INVALID */
export function readCapacityDocument(directory: string): CapacityDocument {
  return parsed(join(directory, CAPACITY_FILE), (json) => capacitySchema.parse(json));
}

/** The noise of a target from an earlier measurement; null if there is none. @throws AppError INPUT_INVALID */
export function readNoise(path: string, target: string): NoiseFigures | null {
  const known = noiseFile(path).targets[target];
  return known === undefined ? null : { share: known.share, pairs: known.pairs, source: 'file' };
}

/** Adds the noise of a target to the file. @throws AppError OUTPUT_UNWRITABLE */
export function writeNoise(path: string, target: string, noise: NoiseFigures, measuredAt: string): void {
  const file = noiseFile(path);
  const targets = { ...file.targets, [target]: { ...noise, measuredAt } };
  writingTo(path, () => {
    makeDirectories(dirname(path));
    writeFileDurably(path, `${JSON.stringify({ ...file, targets }, null, 2)}\n`, PRIVATE_FILE);
  });
}

function noiseFile(path: string): NoiseFile {
  try {
    return parsed(path, (json) => noiseFileSchema.parse(json));
  } catch (thrown) {
    if (!(thrown instanceof AppError) || !isMissing(thrown.cause)) throw thrown;
    return { schemaVersion: CAPACITY_SCHEMA_VERSION, kind: 'capacity-noise', targets: {} };
  }
}

function parsed<T>(path: string, parse: (json: unknown) => T): T {
  try {
    return parse(JSON.parse(readFileSync(path, 'utf8')));
  } catch (cause) {
    throw new AppError('INPUT_INVALID', `${path} cannot be read: ${reasonOf(cause).split('\n')[0]}`, {
      hint: 'It was changed or cut short. Remove it to begin again.',
      cause,
    });
  }
}

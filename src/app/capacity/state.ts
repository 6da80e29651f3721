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
 * The state of a search in its directory. Null for an empty directory or a new one, which is created. @throws AppError
 */
export function readState(directory: string, settings: string): CapacityState | null {
  const path = join(directory, STATE_FILE);
  if (!existsSync(path)) {
    // Checked before anything is sent, so that no search begins whose state cannot be kept.
    writingTo(directory, () => {
      makeDirectories(directory, PRIVATE_DIRECTORY);
      accessSync(directory, constants.W_OK);
    });
    if (readdirSync(directory).length === 0) return null;
    throw new AppError('OUTPUT_EXISTS', `${directory} is not empty, and holds no search that could go on`, {
      hint: 'Give a new directory to --out.',
    });
  }
  const state = parsed(path, (json) => capacityStateSchema.parse(json));
  if (state.settings === settings) return state;
  throw new AppError('OPTION_INVALID', `--out: the search in ${directory} asked for something else`, {
    hint: 'Repeat its command to go on with it (--budget, --multiplier and what limits the generator may change), or give a new directory.',
  });
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

/** Writes atomically, so that a reader gets the old or the new state. @throws AppError OUTPUT_UNWRITABLE */
export function writeState(directory: string, state: CapacityState): void {
  const path = join(directory, STATE_FILE);
  writingTo(path, () => {
    makeDirectories(directory, PRIVATE_DIRECTORY);
    writeFileDurably(path, `${JSON.stringify(state)}\n`, PRIVATE_FILE);
  });
}

/** Writes the document of a search into its directory. @throws AppError OUTPUT_UNWRITABLE */
export function writeCapacityDocument(directory: string, document: CapacityDocument): void {
  const path = join(directory, CAPACITY_FILE);
  writingTo(path, () => writeFileDurably(path, `${JSON.stringify(document)}\n`, PRIVATE_FILE));
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

import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import type { Document, Node } from 'yaml';
import { AppError, reasonOf } from '../core/errors.ts';
import { hasCode } from '../storage/capture/directory.ts';

/** Loaded with the first file: the package is a sixth of all modules that a command would start with. */
const yaml = (): typeof import('yaml') => createRequire(import.meta.url)('yaml');

/** The maximum size of a file. It is enough for any settings, and protects against a wrong path to a large file. */
const YAML_BYTES = 1024 * 1024;
/** Most expansions of aliases. Nested aliases can expand a few lines beyond any memory. */
const EXPANSIONS = 100;

/** The purpose of a file and the hint of its errors. */
interface YamlPurpose {
  /** Such as `configuration` or `scenario`. */
  readonly what: string;
  readonly hint: string;
}

/** A position in a file. Both numbers start at 1. */
interface Place {
  readonly line: number;
  readonly column: number;
}

/** One document of a file, with the positions of its values. */
export interface YamlDocument {
  readonly value: unknown;
  /** The position of the key or item at this path, or of its nearest existing parent. */
  placeOf(path: readonly PropertyKey[]): Place | null;
}

export interface YamlProblem {
  readonly text: string;
  readonly place: Place | null;
}

/**
 * Reads YAML 1.2, which includes JSON. An empty file is no document.
 * @throws AppError OPTION_INVALID naming every error with its line and column
 */
export function readYaml(path: string, purpose: YamlPurpose): YamlDocument[] {
  const { LineCounter, parseAllDocuments } = yaml();
  const lines = new LineCounter();
  const parsed = parseAllDocuments(textOf(path, purpose), {
    lineCounter: lines,
    uniqueKeys: true,
    version: '1.2',
  });
  const documents = Array.isArray(parsed) ? parsed : [];
  const placeAt = (offset: number): Place => {
    const { line, col } = lines.linePos(offset);
    return { line, column: col };
  };
  const problems = documents.flatMap((document) =>
    document.errors.map(({ message, pos, code }) => {
      const [what = ''] = message.split('\n');
      const offset = code === 'MISSING_CHAR' ? openingOf(document, pos[0]) : pos[0];
      return { text: what.replace(/ at line \d+, column \d+:?$/, ''), place: placeAt(offset) };
    }),
  );
  if (problems.length > 0) {
    throw invalidYaml(path, problems, purpose);
  }
  return documents.map((document) => ({
    value: contentOf(path, document, purpose),
    placeOf: (keys) => {
      const offset = offsetOf(document.contents, keys);
      return offset === null ? null : placeAt(offset);
    },
  }));
}

/** An error that lists problems in the order of the file. */
export function invalidYaml(
  path: string,
  problems: readonly YamlProblem[],
  { what, hint }: YamlPurpose,
): AppError {
  const texts = problems
    .toSorted((a, b) => offsetIn(a) - offsetIn(b))
    .map(
      ({ text, place }) => `${place === null ? '' : `line ${place.line}, column ${place.column}: `}${text}`,
    );
  const list = texts.length === 1 ? `: ${texts[0]}` : `:\n  ${texts.join('\n  ')}`;
  return new AppError('OPTION_INVALID', `${what} ${path}${list}`, { hint });
}

function offsetIn({ place }: YamlProblem): number {
  return place === null ? 0 : place.line * YAML_BYTES + place.column;
}

function textOf(path: string, { what }: YamlPurpose): string {
  try {
    const text = readFileSync(path, 'utf8');
    if (text.length <= YAML_BYTES) return text;
  } catch (error) {
    const reason = hasCode(error, 'ENOENT') ? 'there is no such file' : reasonOf(error);
    throw new AppError('OPTION_INVALID', `${what} ${path} cannot be read: ${reason}`, {
      hint: `Give a YAML file that this user can read.${what === 'scenario' ? ' reprise init CAPTURE writes one.' : ''}`,
      cause: error,
    });
  }
  throw new AppError('OPTION_INVALID', `${what} ${path} is larger than ${YAML_BYTES} bytes`);
}

/** Where the text opens that has no closing quote before `endOffset`; that offset if none does. */
function openingOf(document: Document, endOffset: number): number {
  let opening = endOffset;
  yaml().visit(document, {
    Scalar: (_, { range }) => {
      if (range?.[1] === endOffset) opening = range[0];
    },
  });
  return opening;
}

function contentOf(path: string, document: Document, purpose: YamlPurpose): unknown {
  try {
    return document.toJS({ maxAliasCount: EXPANSIONS });
  } catch (error) {
    // An alias without its anchor, or too many expansions.
    if (!(error instanceof ReferenceError)) throw error;
    throw invalidYaml(path, [{ text: error.message, place: null }], purpose);
  }
}

function offsetOf(contents: unknown, path: readonly PropertyKey[]): number | null {
  const { isMap, isScalar, isSeq } = yaml();
  let node: unknown = contents;
  let offset: number | null = null;
  for (const step of path) {
    if (isSeq(node)) {
      node = node.items[Number(step)];
      offset = (node as Node | undefined)?.range?.[0] ?? offset;
      continue;
    }
    if (!isMap(node)) return offset;
    const pair = node.items.find((item) => isScalar(item.key) && String(item.key.value) === String(step));
    if (pair === undefined) return offset;
    offset = (pair.key as Node).range?.[0] ?? offset;
    node = pair.value;
  }
  return offset;
}

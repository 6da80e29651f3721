// Prints the guide's list of fields that the preset `llm` leaves readable. With --write, writes it into
// docs/guides/privacy.md.
import { readFileSync, writeFileSync } from 'node:fs';
import {
  PART_WORDS,
  REQUESTS,
  STRUCTURAL_LABELS,
  STRUCTURAL_LISTS,
  STRUCTURAL_NUMBERS,
  STRUCTURAL_WORDS,
} from '../src/redaction/structural-fields.ts';

const BEGIN = '<!-- readable fields: begin -->\n';
const END = '<!-- readable fields: end -->';
const GUIDE = new URL('../docs/guides/privacy.md', import.meta.url);

const code = (texts) => texts.map((text) => `\`${text}\``).join(', ');

/** Pointers into a request. Those that repeat below each form of a batch are named once. */
function pointers() {
  const batches = REQUESTS.filter((request) => request !== '');
  const isCopy = (label) => batches.some((batch) => label.startsWith(`${batch}/`));
  const isRepeated = (label) => batches.every((batch) => STRUCTURAL_LABELS.includes(batch + label));
  const labels = [...new Set(STRUCTURAL_LABELS)].filter((label) => !isCopy(label));
  return {
    batches,
    repeated: labels.filter(isRepeated),
    alone: labels.filter((label) => !isRepeated(label)),
  };
}

const { batches, repeated, alone } = pointers();
const words = Object.entries(STRUCTURAL_WORDS).map(([name, texts]) => `| \`${name}\` | ${code(texts)} |`);
const text = `${[
  '**Words**, under these names at any depth. Any other text under the name is masked.',
  '',
  '| member | words that stay |',
  '| ------ | --------------- |',
  ...words,
  '',
  '**Labels**, at these pointers: one word of up to 64 letters, digits and `_.:/-`, or a number. Anything else there is masked.',
  '',
  `- in a request, and in each of a batch (below ${code(batches)}): ${code(repeated)}`,
  `- elsewhere: ${code(alone)}`,
  '',
  `**Numbers**, of these members at any depth: ${code(STRUCTURAL_NUMBERS)}. Of lists of numbers only ${code(STRUCTURAL_LISTS)}.`,
  '',
  `**Heads of parts** in multipart forms: names of fields, numbers of up to six digits in a type's parameters, and in types, parameters and extensions of files the words ${code(PART_WORDS)}. If a part's \`Content-Length\` is not its length, the body is not stored.`,
].join('\n')}\n`;

if (process.argv.includes('--write')) {
  const guide = readFileSync(GUIDE, 'utf8');
  const from = guide.indexOf(BEGIN) + BEGIN.length;
  const to = guide.indexOf(END);
  if (from < BEGIN.length || to < from) throw new Error('docs/guides/privacy.md has no place for the list');
  writeFileSync(GUIDE, guide.slice(0, from) + text + guide.slice(to));
} else {
  process.stdout.write(text);
}

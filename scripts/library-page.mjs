// Writes docs/reference/library.md from the public types of the library and their comments.
import { writeFileSync } from 'node:fs';
import { libraryTypes } from './library-types.mjs';

const PAGE = new URL('../docs/reference/library.md', import.meta.url);
const BEGIN = `# Library

Reprise as a library has the functions of the command. Options are its flags in camel case: \`--session-order open\` is \`sessionOrder: 'open'\`. A failure is an \`AppError\` with a code and a hint.

\`\`\`js
import { profile, record, replay } from '@reprise-load/reprise';
\`\`\`

This page is made from the types of the package.
`;
/** Longer types are documents. Their schemas are published, and the types are in \`index.d.ts\`. */
const SHOWN_CHARS = 2_000;

const KINDS = [
  ['Functions', 'function'],
  ['Classes', 'class'],
  ['Values', 'const'],
  ['Types', 'interface'],
  ['Other types', 'type'],
];

/** The text of a comment without its marks, each tag on a line of its own. */
function proseOf(doc) {
  const lines = doc.replace(/^\/\*\*|\*\/$/g, '').split('\n');
  const prose = lines.map((line) => line.replace(/^\s*\*? ?/, '').trimEnd()).join(' ');
  return prose
    .trim()
    .replace(/\s+/g, ' ')
    .replace(/\s*@(throws|param|returns|see)\s+/g, (_, tag) => `\n\n*${tag}*: `);
}

function sectionOf({ name, doc, text }) {
  const shown =
    text.length > SHOWN_CHARS
      ? `A document of many values. Its schema is in [documents](documents.md), its type in \`index.d.ts\`.`
      : `\`\`\`ts\n${text.replace(/^declare /gm, '')}\n\`\`\``;
  return [`### \`${name}\``, proseOf(doc), shown].filter((part) => part !== '').join('\n\n');
}

const declarations = libraryTypes();
const parts = KINDS.map(([title, kind]) => {
  const these = declarations.filter((each) => each.isExported && each.kind === kind);
  return [`## ${title}`, ...these.map(sectionOf)].join('\n\n');
});
const page = `${[BEGIN.trimEnd(), ...parts].join('\n\n')}\n`;
if (process.argv.includes('--print')) process.stdout.write(page);
else writeFileSync(PAGE, page);

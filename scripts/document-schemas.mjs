// Writes the JSON Schemas of all documents into docs/.
import { writeFileSync } from 'node:fs';
import { publishedSchemas } from '../src/documents/published.ts';

for (const { file, schema } of publishedSchemas()) {
  writeFileSync(new URL(`../docs/${file}`, import.meta.url), `${JSON.stringify(schema, null, 2)}\n`);
}

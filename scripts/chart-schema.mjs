// Writes the flags of `reprise record` from docs/config.schema.json into the schema of the chart's values. So Helm
// refuses a misspelt flag before a pod starts. Keys with objects as values are left out, because they are no flags and
// exist only in the configuration file.
import { readFileSync, writeFileSync } from 'node:fs';

const chart = new URL('../deploy/helm/reprise/values.schema.json', import.meta.url);
const config = JSON.parse(readFileSync(new URL('../docs/config.schema.json', import.meta.url), 'utf8'));
const schema = JSON.parse(readFileSync(chart, 'utf8'));
const { properties, ...record } = config.properties.record;
const flags = Object.entries(properties).filter(([, { items }]) => items?.type !== 'object');
schema.$defs.record = { ...record, properties: Object.fromEntries(flags) };
writeFileSync(chart, `${JSON.stringify(schema, null, 2)}\n`);

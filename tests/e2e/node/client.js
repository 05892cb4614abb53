// A client in another language, made from the .proto files alone: lists families, uploads images, selects.
//
//   node client.js PROTO_FOLDER HOST:PORT CLASS=IMAGE CLASS=IMAGE ...
//
// Prints one JSON document.
'use strict';

const crypto = require('node:crypto');
const fs = require('node:fs');
const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');

const [protos, address, ...pairs] = process.argv.slice(2);
const files = ['catalog', 'dataset', 'selection'].map((name) => `seedzoo_protos/v1/${name}.proto`);
const definition = loader.loadSync(files, { includeDirs: [protos], keepCase: true, longs: Number, enums: String });
const { CatalogService, DatasetService, SelectionService } = grpc.loadPackageDefinition(definition).seedzoo.v1;
const made = [CatalogService, DatasetService, SelectionService].map((Service) => new Service(address, grpc.credentials.createInsecure()));
const [catalog, datasets, selections] = made;

const ask = (client, method, request) =>
  new Promise((resolve, reject) => client[method](request, (error, answer) => (error ? reject(error) : resolve(answer))));

async function main() {
  const { families } = await ask(catalog, 'ListFamilies', {});
  const family = families[0];
  const { classes } = family.task;
  const images = pairs.map((pair) => {
    const [label, path] = pair.split(/=(.*)/s);
    return { label: classes.indexOf(label), data: fs.readFileSync(path) };
  });

  const dataset = await ask(datasets, 'CreateDataset', {
    request_id: crypto.randomUUID(), classes, item_count: images.length,
  });
  await ask(datasets, 'AppendItems', {
    dataset_id: dataset.id,
    items: images.map(({ label, data }, index) => ({
      index, label, size: data.length, sha256: crypto.createHash('sha256').update(data).digest(),
    })),
  });
  const stored = await new Promise((resolve, reject) => {
    const call = datasets.UploadItems((error, answer) => (error ? reject(error) : resolve(answer)));
    images.forEach(({ data }, index) => call.write({ dataset_id: index ? '' : dataset.id, index, data }));
    call.end();
  });

  const selection = await ask(selections, 'StartSelection', {
    request_id: crypto.randomUUID(), dataset_id: dataset.id, family: family.name,
  });
  let last;
  for await (const update of selections.WatchSelection({ selection_id: selection.id })) last = update.selection;
  // An error of a call carries a google.rpc.Status in the trailers; its code and text are enough here.
  const refused = await ask(catalog, 'GetFamily', { name: 'nothing' }).catch((error) => error.code);
  await ask(datasets, 'DeleteDataset', { dataset_id: dataset.id });

  console.log(JSON.stringify({
    families: families.map(({ name }) => name),
    stored: stored.stored_count,
    state: last.state,
    recommended: last.report.recommended,
    examples: last.report.n_examples,
    refused,
  }));
}

main().then(() => made.forEach((client) => client.close()), (error) => {
  console.error(error);
  process.exitCode = 1;
  made.forEach((client) => client.close());
});

// node-opcua's client on a subscription: counts values for some seconds and says what they cost.
// Usage: node subscriber.js '{"modules": ..., "url": ..., "nodes": N, "seconds": S}'
"use strict";
const settings = JSON.parse(process.argv[2]);
const opcua = require(settings.modules + "/node-opcua");

(async () => {
  const client = opcua.OPCUAClient.create({ endpointMustExist: false });
  await client.connect(settings.url);
  const session = await client.createSession();
  const subscription = await session.createSubscription2({
    requestedPublishingInterval: 100, requestedLifetimeCount: 1000, requestedMaxKeepAliveCount: 10,
    maxNotificationsPerPublish: 0, publishingEnabled: true, priority: 0,
  });
  let count = 0;
  const items = [];
  for (let i = 0; i < settings.nodes; i++)
    items.push({ nodeId: `ns=1;s=v${i}`, attributeId: opcua.AttributeIds.Value });
  const group = opcua.ClientMonitoredItemGroup.create(
    subscription, items, { samplingInterval: 100, queueSize: 20, discardOldest: true },
    opcua.TimestampsToReturn.Both);
  group.on("changed", () => { count++; });
  setTimeout(() => {
    const before = process.cpuUsage(), start = count;
    setTimeout(() => {
      const used = process.cpuUsage(before);
      console.log(`${count - start} ${(used.user + used.system) / 1e6}`);
      process.exit(0);
    }, settings.seconds * 1000);
  }, 5000);
})();

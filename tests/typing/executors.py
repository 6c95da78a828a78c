"""Making an executor."""

from typing import assert_type

import wren


def right() -> None:
    assert_type(wren.FunctionExecutor(), wren.FunctionExecutor)
    assert_type(wren.function_executor({"wren": {"backend": "localhost"}}, backend="localhost"), wren.FunctionExecutor)
    assert_type(wren.local_executor(log_level="INFO", workers=2, retries=1, persist=True), wren.FunctionExecutor)
    assert_type(wren.docker_executor(runtime="image", storage_backend="localhost"), wren.FunctionExecutor)
    assert_type(wren.ibm_cf_executor(None, "image", 512, "ibm_cos", True, 10, False), wren.FunctionExecutor)
    assert_type(wren.knative_executor(rabbitmq_monitor=True), wren.FunctionExecutor)
    assert_type(wren.openwhisk_executor(remote_invoker=True), wren.FunctionExecutor)
    assert_type(wren.local_executor().executor_id, str)


def wrong() -> None:
    wren.local_executor(backend="docker")  # error: call-arg | reportCallIssue
    wren.local_executor(workers="2")  # error: arg-type | reportArgumentType
    wren.FunctionExecutor(["localhost"])  # error: arg-type | reportArgumentType
    wren.knative_executor(worker=2)  # error: call-arg | reportCallIssue

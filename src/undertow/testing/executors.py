"""What an executor must keep: every job once, results in the order of the jobs, errors as they were."""

import pytest

from undertow.types import BadInput, Executor

JOBS = 11


def squared(job: int) -> int:
    """Work that other processes can import."""
    return job * job


def described(job: str) -> dict[str, list[str]]:
    """A result that is no number."""
    return {"letters": list(job)}


def refusing(job: int) -> int:
    """Fails at one job."""
    if job == 3:
        raise BadInput("job 3 is not to be done")
    return job


class ExecutorContract:
    """Inherit it and give a fixture `executor`.

    Work is a function that can be imported, jobs and results are plain data (numbers, texts, lists, dictionaries).
    """

    @pytest.fixture
    def executor(self) -> Executor:
        """The executor to test."""
        raise NotImplementedError("give a fixture `executor`")

    def test_results_come_in_the_order_of_the_jobs(self, executor: Executor) -> None:
        assert list(executor.map(squared, range(JOBS))) == [job * job for job in range(JOBS)]

    def test_jobs_may_be_any_iterable_and_results_any_plain_data(self, executor: Executor) -> None:
        found = list(executor.map(described, (text for text in ("ab", "", "c"))))
        assert found == [{"letters": ["a", "b"]}, {"letters": []}, {"letters": ["c"]}]

    def test_no_jobs_give_no_results(self, executor: Executor) -> None:
        assert list(executor.map(squared, [])) == []

    def test_equal_jobs_are_all_done(self, executor: Executor) -> None:
        assert list(executor.map(squared, [2, 2, 2])) == [4, 4, 4]

    def test_an_error_of_the_work_is_raised_as_it_was(self, executor: Executor) -> None:
        with pytest.raises(BadInput, match="job 3 is not to be done"):
            list(executor.map(refusing, range(JOBS)))

    def test_it_works_again_after_an_error_and_when_results_were_left(self, executor: Executor) -> None:
        with pytest.raises(BadInput):
            list(executor.map(refusing, range(JOBS)))
        assert next(iter(executor.map(squared, [5, 6, 7]))) == 25
        assert list(executor.map(squared, [5, 6])) == [25, 36]

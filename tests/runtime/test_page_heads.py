from rllib_moe.runtime.page_heads import commit_words, environment_words, machine_words


def test_an_environment_is_told_with_its_length_and_arguments() -> None:
    assert environment_words("nethack", 500, {}) == "nethack (500 steps)"
    assert environment_words("nethack", 500, {"actions": "macro"}) == "nethack (500 steps, actions=macro)"


def test_a_commit_says_whether_there_were_changes() -> None:
    assert commit_words({"git_commit": "0123456789abcdef", "git_changes": False}) == "0123456789"
    assert commit_words({"git_commit": "0123456789abcdef", "git_changes": True}) == "0123456789 with changes"
    assert commit_words({"git_commit": None}) == commit_words({}) == ""


def test_a_machine_is_its_gpu_or_else_its_processor() -> None:
    assert machine_words({"gpu": None, "cpu": "Z80", "cores": 1}) == "Z80 (1 core)"
    assert machine_words({"gpu": "H200", "cpu": "Z80", "cores": 2}) == "H200 (2 cores)"
    assert machine_words({}) == ""

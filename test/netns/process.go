package netns

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"syscall"
)

// A Process is a program that runs on a machine. [Machine.Start] makes it.
type Process struct {
	cmd   *exec.Cmd
	ended chan struct{}
	err   error
}

// Start starts a program on the machine. It dies with us, whatever we die of,
// and Ctrl-C on our terminal is for us alone.
func (m *Machine) Start(cmd *exec.Cmd) (*Process, error) {
	if err := m.lab.err; err != nil {
		return nil, err
	}
	p := &Process{cmd: cmd, ended: make(chan struct{})}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	err := m.own(func() error {
		if err := cmd.Start(); err != nil {
			return err
		}
		m.processes = append(slices.DeleteFunc(m.processes, (*Process).over), p)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("cannot start %s on machine %s: %w", cmd.Path, m.Name, err)
	}
	go func() {
		p.err = cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

// Run runs a program on the machine to its end.
func (m *Machine) Run(cmd *exec.Cmd) error {
	p, err := m.Start(cmd)
	if err != nil {
		return err
	}
	return p.Wait()
}

// PID is the process's id, also as the machine's namespace: nsenter -t PID -n.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Ended is closed once the process has ended.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// Wait waits for the end, and returns what exec.Cmd.Wait does.
func (p *Process) Wait() error {
	<-p.ended
	return p.err
}

// Signal sends a signal. To one that has ended it does nothing.
func (p *Process) Signal(s os.Signal) error {
	if err := p.cmd.Process.Signal(s); !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

func (p *Process) over() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

func (p *Process) kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	<-p.ended
}
